//! Looking at everything, for [`check`](crate::store::check).
//!
//! Index entries of removed rows are no fault: nobody sees them, and merging drops them.

use super::{Log, keys};
use crate::store::{Check, Error, check, index, view::View as _};

impl Log {
    pub(super) fn check(&self) -> Result<Check, Error> {
        let snapshot = self.snapshot();
        let rows = (1..=snapshot.last).filter_map(|seq| {
            let row = snapshot.row(seq).transpose()?;
            Some(row.map(|json| (seq, json)))
        });
        check::check(&snapshot, rows, || {
            let all = snapshot.levels.range(0, keys::Word::MAX)?;
            Ok(all.filter_map(|key| match key {
                Err(error) => Some(Err(error.into())),
                Ok(word) => {
                    let key = keys::bytes(word);
                    let (_, seq) = index::split(&key);
                    let counts = seq > snapshot.last || self.state().is_there(seq);
                    (index::is_rows(&key) && counts).then_some(Ok(key))
                }
            }))
        })
    }
}
