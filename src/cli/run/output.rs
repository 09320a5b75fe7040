//! Files that the user named: `--events FILE`, `--json=FILE`, `--record FILE`.
//!
//! What is there already is replaced when there is something to replace it with, not when the
//! program starts.

use super::hand_over;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is written while the run goes on, so that others can follow it.
///
/// It is emptied at the first write or flush. One that was made and got neither is removed.
#[derive(Debug)]
pub struct Stream {
    file: File,
    begun: bool,
    made: Option<PathBuf>,
}

impl Stream {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        match Self::new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = File::options().write(true).create(true).truncate(false).open(path)?;
                Ok(Self { file, begun: false, made: None })
            }
            made => made,
        }
    }

    fn new(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path)?;
        hand_over(&file)?;
        Ok(Self { file, begun: false, made: Some(path.to_owned()) })
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.begun = true;
        Ok(())
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(path) = self.made.as_ref().filter(|_| !self.begun) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A file that gets its name when it is finished: until then what is there stays as it is.
#[derive(Debug)]
pub struct Whole {
    out: Stream,
    path: PathBuf,
    /// None where the user named a link, a device or a pipe, which is written through.
    temporary: Option<PathBuf>,
}

impl Whole {
    /// Opens a new file beside what is there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let about = std::fs::symlink_metadata(path);
        if about.as_ref().is_ok_and(|about| !about.is_file()) {
            return Ok(Self { out: Stream::open(path)?, path: path.to_owned(), temporary: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut own = OsString::from(".");
        own.push(name);
        own.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(own);
        let out = Stream::new(&temporary)?;
        if let Ok(about) = about {
            out.file.set_permissions(about.permissions())?;
        }
        Ok(Self { out, path: path.to_owned(), temporary: Some(temporary) })
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.temporary.take().map_or(Ok(()), |own| std::fs::rename(own, &self.path))
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = std::fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_something() {
        let folder = std::env::temp_dir().join(format!("wirelab-stream-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (old, new) = (folder.join("old"), folder.join("new"));
        std::fs::write(&old, "long before").unwrap();
        for path in [&old, &new] {
            drop(Stream::open(path).unwrap());
        }
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "long before");
        assert!(!new.exists());
        for path in [&old, &new] {
            Stream::open(path).unwrap().write_all(b"now").unwrap();
            assert_eq!(std::fs::read_to_string(path).unwrap(), "now");
            // A run without a line has an empty file.
            Stream::open(path).unwrap().flush().unwrap();
            assert_eq!(std::fs::read_to_string(path).unwrap(), "");
            let mut whole = Whole::create(path).unwrap();
            whole.write_all(b"whole").unwrap();
            assert_eq!(std::fs::read_to_string(path).unwrap(), "");
            whole.finish().unwrap();
            drop(Whole::create(path).unwrap().write_all(b"dropped"));
            assert_eq!(std::fs::read_to_string(path).unwrap(), "whole");
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        // A device is written to, and stays one.
        let mut whole = Whole::create(Path::new("/dev/null")).unwrap();
        whole.write_all(b"gone").unwrap();
        whole.finish().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
