//! The disposable repository inside the tree.
use super::{Error, Workspace};
use std::path::Path;
impl Workspace {
    /// x
    pub fn plant_git(&self, branch: &str, at: u64) -> Result<(), Error> {
        let _ = (branch, at, Path::new(""));
        Ok(())
    }
    pub(super) fn replant_git(&self) -> Result<(), Error> {
        Ok(())
    }
}
