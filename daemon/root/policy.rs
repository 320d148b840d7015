//! `policy.cedar`: what this device forbids itself, in every workspace.

use super::{Root, RootError, files, io};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

impl Root {
    /// Where this device's own policy is, if it has one.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.dir().join("policy.cedar")
    }

    /// This device's own policy. Whether it is one, the engine finds when it is handed over.
    ///
    /// # Errors
    /// When it cannot be read, is no text, or could have been written by somebody else.
    pub fn own_policy(&self) -> Result<Option<String>, RootError> {
        let path = self.policy_file();
        let Some(bytes) = files::read(&path).map_err(io("read", &path))? else { return Ok(None) };
        let mode = std::fs::metadata(&path).map_err(io("read", &path))?.mode();
        if mode & 0o022 != 0 {
            return Err(RootError::Exposed(path));
        }
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| RootError::Damaged { path, rule: "it holds Cedar policies in UTF-8" })
    }

    /// Keeps another policy for this device, or none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_own_policy(&self, text: Option<&str>) -> Result<(), RootError> {
        let _lock = self.lock()?;
        let path = self.policy_file();
        match text {
            Some(text) => files::write(&path, text.as_bytes()).map_err(io("write", &path)),
            None => files::remove(&path).map_err(io("remove", &path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_private_and_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::locate(Some(dir.path().join("a"))).unwrap();
        assert_eq!(root.own_policy().unwrap(), None);
        root.set_own_policy(Some("permit(principal, action, resource);")).unwrap();
        assert_eq!(root.own_policy().unwrap().unwrap(), "permit(principal, action, resource);");
        let path = root.policy_file();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(root.own_policy(), Err(RootError::Exposed(_))));
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(root.own_policy(), Err(RootError::Damaged { .. })));
        for _ in 0..2 {
            root.set_own_policy(None).unwrap();
            assert_eq!(root.own_policy().unwrap(), None);
        }
    }
}
