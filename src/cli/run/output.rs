//! Files that the user named: `--events FILE`, `--json=FILE`, `--record FILE`, `--capture DIR`.
//!
//! An existing file is replaced when there is something to replace it with, not when the program
//! starts. A link is followed only if it is the user's own.

use super::{hand_over, only_ours, temporary};
use crate::sys::dir::Dir;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of a named file, held open, and the file's name in it.
#[derive(Debug)]
struct Place {
    dir: Dir,
    name: OsString,
}

impl Place {
    /// Resolves a path; a link at its end only if it is trusted.
    fn of(path: &Path) -> io::Result<Self> {
        let link = path.symlink_metadata().ok().filter(Metadata::is_symlink);
        let path = match link {
            Some(link) => {
                only_ours(&link, path)?;
                path.canonicalize()?
            }
            None => path.to_owned(),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        Ok(Self { dir: Dir::open(above.unwrap_or_else(|| Path::new(".")))?, name })
    }

    /// The entry of this name, if there is one.
    fn existing(&self) -> Option<Metadata> {
        self.dir.status(&self.name).ok()
    }
}

/// A file that is written while the run goes on, so that others can follow it.
///
/// It is emptied at the first write or flush. One that was made and got neither is removed.
#[derive(Debug)]
pub struct Stream {
    file: File,
    begun: bool,
    made: Option<Place>,
}

impl Stream {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Errors of the file system; `PermissionDenied` for another user's file or link.
    pub fn open(path: &Path) -> io::Result<Self> {
        // `/dev/stdout` and `>(command)` lead to descriptors, which have no path.
        let above = path.parent().and_then(|above| above.canonicalize().ok());
        let target = path.read_link().unwrap_or_default();
        if above.is_some_and(|above| above.starts_with("/proc")) || target.starts_with("/proc") {
            let file = File::options().write(true).open(path)?;
            return Ok(Self { file, begun: false, made: None });
        }
        let place = Place::of(path)?;
        match place.dir.create(&place.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = place.dir.writable(&place.name)?;
                let about = file.metadata()?;
                if about.is_file() {
                    only_ours(&about, path)?;
                }
                Ok(Self { file, begun: false, made: None })
            }
            made => Self::made(made?, place),
        }
    }

    fn made(file: File, place: Place) -> io::Result<Self> {
        hand_over(&file)?;
        Ok(Self { file, begun: false, made: Some(place) })
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
        if let Some(Place { dir, name }) = self.made.as_ref().filter(|_| !self.begun) {
            let _ = dir.remove_file(name);
        }
    }
}

/// A file that gets its name when it is finished: until then what is there stays as it is.
#[derive(Debug)]
pub struct Whole {
    out: Stream,
    /// The temporary name and the final one; `None` for a device or a pipe, which is written
    /// through.
    names: Option<(OsString, Place)>,
}

impl Whole {
    /// Opens a new file beside what is there.
    ///
    /// # Errors
    /// Errors of the file system; `PermissionDenied` for another user's file or link.
    pub fn create(path: &Path) -> io::Result<Self> {
        let place = Place::of(path).ok();
        let existing = place.as_ref().and_then(Place::existing);
        let through = existing.as_ref().is_some_and(|about| !about.is_file());
        let Some(place) = place.filter(|_| !through) else {
            return Ok(Self { out: Stream::open(path)?, names: None });
        };
        let (own, file) = temporary(&place.dir, &place.name)?;
        let whole =
            Self { out: Stream { file, begun: false, made: None }, names: Some((own, place)) };
        if let Some(about) = existing {
            only_ours(&about, path)?;
            whole.out.file.set_permissions(about.permissions())?;
        }
        Ok(whole)
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// Those of [`create`](Self::create), and of the writing.
    pub fn write_all_to(path: &Path, content: &[u8]) -> io::Result<()> {
        let mut whole = Self::create(path)?;
        whole.write_all(content)?;
        whole.finish()
    }

    /// Gives it its name, once its content is on the disk.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        let Some((own, Place { dir, name })) = self.names.take() else { return Ok(()) };
        let placed = self.out.file.sync_data().and_then(|()| dir.rename(&own, &name));
        if placed.is_err() {
            let _ = dir.remove_file(&own);
        }
        placed
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
        if let Some((own, place)) = &self.names {
            let _ = place.dir.remove_file(own);
        }
    }
}

/// Makes a folder that the user named, and those above it, where they are missing.
///
/// # Errors
/// Errors of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = std::path::absolute(path)?
        .ancestors()
        .take_while(|above| !above.exists())
        .map(Path::to_owned)
        .collect();
    for folder in missing.iter().rev() {
        let (above, name) =
            folder.parent().zip(folder.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        hand_over(&Dir::open(above)?.make_dir(name)?)?;
    }
    Ok(())
}

/// A file without a name, which vanishes whenever this process dies.
///
/// # Errors
/// Errors of the temporary folder's file system.
pub fn unnamed() -> io::Result<File> {
    unnamed_in(&std::env::temp_dir())
}

/// A file or a folder that is removed when this is dropped.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// A new folder in the temporary folder, which no other user may write to.
    ///
    /// # Errors
    /// What the file system says, `EEXIST` where the name is taken.
    pub fn folder(name: &str) -> io::Result<Self> {
        let above = std::env::temp_dir();
        Dir::open(&above)?.make_dir(OsStr::new(name))?;
        Ok(Self(above.join(name)))
    }

    /// What its owner has made here.
    #[must_use]
    pub const fn made(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0).or_else(|_| std::fs::remove_dir_all(&self.0));
    }
}

/// A file without a name in a folder, as [`unnamed`].
///
/// # Errors
/// What the file system says, `EACCES` or `EROFS` where no file can be made.
pub fn unnamed_in(folder: &Path) -> io::Result<File> {
    let dir = Dir::open(folder)?;
    let (name, file) = temporary(&dir, OsStr::new("wirelab"))?;
    dir.remove_file(&name)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_something() {
        let folder = std::env::temp_dir().join(format!("wirelab-stream-{}", std::process::id()));
        make_folder(&folder.join("above")).unwrap();
        std::fs::remove_dir(folder.join("above")).unwrap();
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
        // The user's own link is followed, and stays one.
        let link = folder.join("link");
        std::os::unix::fs::symlink("new", &link).unwrap();
        Whole::write_all_to(&link, b"through").unwrap();
        assert_eq!(std::fs::read_to_string(&new).unwrap(), "through");
        assert!(link.is_symlink());
        // A device is written to, and stays one; so is a descriptor.
        Whole::write_all_to(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        let kept = File::open(&old).unwrap();
        let descriptor = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept));
        Stream::open(Path::new(&descriptor)).unwrap().write_all(b"by number").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "by number");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
