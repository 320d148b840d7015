//! The command's end of the socket.

use super::{ANSWER_BYTES, GIVE_UP, Line, ReadLineError, SILENCE, encode, read_line};
use crate::api::{ApiError, Call, Progress, Reply};
use crate::root::Root;
use std::io::{ErrorKind, Write};
use std::path::Path;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// The daemon was there and gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It went away: a request that reads can be asked again.
    #[error("the daemon stopped before it answered")]
    Gone,
    /// It answers in words this version does not know.
    #[error("the daemon is of another version")]
    Version,
    /// It is there and says nothing.
    #[error("the daemon has said nothing for {} seconds", GIVE_UP.as_secs())]
    Silent,
}

impl Client {
    /// Connects to the daemon that listens at `socket`; none if there is none.
    ///
    /// # Errors
    /// When something is there that is not this user's, or cannot be reached.
    pub async fn connect(root: &Root, socket: &Path) -> Result<Option<Self>, ApiError> {
        if !socket.exists() {
            return Ok(None);
        }
        root.check_socket_dir(socket)?;
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                Ok(Some(Self { reader: BufReader::new(reader), writer }))
            }
            // A daemon that was killed leaves its socket behind.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(ApiError::failed(
                "socket",
                format!("cannot reach the daemon at {}: {error}", socket.display()),
                "check who owns it, or stop the daemon",
            )),
        }
    }

    /// Asks the daemon, and waits for its answer as long as it says that it is at work. After [`SILENCE`] a note on standard
    /// error says what is waited for.
    ///
    /// # Errors
    /// When it went away, speaks another version, or has said nothing for [`GIVE_UP`].
    pub async fn ask(&mut self, call: &Call, progress: &Progress) -> Result<Reply, ClientError> {
        // It may hold a token.
        let line = Zeroizing::new(encode(call));
        let sent = self.writer.write_all(&line);
        // A long request fills the socket's buffer, and nobody may be there to empty it.
        timeout(GIVE_UP, sent).await.map_err(|_| ClientError::Silent)?.map_err(|_| ClientError::Gone)?;
        loop {
            let line = self.next_line().await?.map_err(|_| ClientError::Gone)?;
            let line = line.ok_or(ClientError::Gone)?;
            match serde_json::from_slice(&line).map_err(|_| ClientError::Version)? {
                Line::Progress { done, total } => progress(done, total),
                Line::Ok(value) => return Ok(Ok(value)),
                Line::Error(error) => return Ok(Err(error)),
            }
        }
    }

    async fn next_line(&mut self) -> Result<Result<Option<Vec<u8>>, ReadLineError>, ClientError> {
        let line = read_line(&mut self.reader, ANSWER_BYTES);
        tokio::pin!(line);
        if let Ok(line) = timeout(SILENCE, &mut line).await {
            return Ok(line);
        }
        let left = GIVE_UP.saturating_sub(SILENCE);
        let (so_far, left_seconds) = (SILENCE.as_secs(), left.as_secs());
        // Nobody can be told that nobody can be told.
        let _ = writeln!(
            std::io::stderr().lock(),
            "the daemon has not answered for {so_far} seconds; waiting {left_seconds} more"
        );
        timeout(left, line).await.map_err(|_| ClientError::Silent)
    }
}
