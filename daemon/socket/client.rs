//! The command's end of the socket.

use super::{ANSWER_BYTES, Line, encode, read_line};
use crate::api::{ApiError, Call, Progress, Reply};
use crate::root::Root;
use std::io::ErrorKind;
use std::path::Path;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
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

    /// Asks the daemon, and waits for its answer.
    ///
    /// # Errors
    /// When it went away or speaks another version.
    pub async fn ask(&mut self, call: &Call, progress: &Progress) -> Result<Reply, ClientError> {
        // It may hold a token.
        let line = Zeroizing::new(encode(call));
        self.writer.write_all(&line).await.map_err(|_| ClientError::Gone)?;
        loop {
            let line = read_line(&mut self.reader, ANSWER_BYTES).await.map_err(|_| ClientError::Gone)?;
            let line = line.ok_or(ClientError::Gone)?;
            match serde_json::from_slice(&line).map_err(|_| ClientError::Version)? {
                Line::Progress { done, total } => progress(done, total),
                Line::Ok(value) => return Ok(Ok(value)),
                Line::Error(error) => return Ok(Err(error)),
            }
        }
    }
}
