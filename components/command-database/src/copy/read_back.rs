use model::Position;

use super::{Contents, Copied, Pace, Progress, SLICE, Step, chain::Chain, log};
use crate::{Error, LogScan, Scanned};

/// Reads a copy back from the log that it has become, and refuses one that is not whole: its lineage, and the whole hash
/// chain up to the head.
///
/// # Errors
/// [`Error::Corrupt`] says where, [`Error::NotACopy`] what is different; others where the log cannot be read.
pub fn verify_copy(
    scan: &mut dyn LogScan,
    contents: &Contents,
    tell: &mut dyn FnMut(Step) -> Pace,
) -> Result<Copied, Error> {
    let name = scan.name();
    let differs = |found: String| Error::NotACopy { log: name.clone(), found };
    let epochs = log::epochs(scan)?;
    if epochs.get(..contents.epochs.len()) != Some(&contents.epochs[..]) {
        return Err(differs("its epochs are not those of what was copied".to_owned()));
    }
    let head = scan.head()?.position.cast_unsigned();
    if head != Position::count(contents.head) {
        return Err(differs(format!(
            "it ends at position {head}, what was copied at {}",
            Position::count(contents.head)
        )));
    }
    let mut chain = Chain::after(contents, &Progress::default())?;
    let mut after = 0;
    loop {
        let slice = scan.events(after, SLICE);
        if let Some(error) = slice.failed {
            return Err(error);
        }
        for scanned in &slice.events {
            match scanned {
                Scanned::Event(event) if event.fits_checksum => chain.follow(&event.event)?,
                Scanned::Event(event) => {
                    return Err(differs(format!("position {} does not fit its checksum", event.event.position)));
                }
                Scanned::Unreadable { position, found } => {
                    return Err(differs(format!("position {position}: {found}")));
                }
            }
        }
        if slice.events.is_empty() {
            chain.end()?;
            return Ok(Copied::Whole);
        }
        after = chain.position().cast_signed();
        if tell(chain.step()) == Pace::Stop {
            return Ok(Copied::Stopped);
        }
    }
}
