//! The standard streams.

use std::fmt::Arguments;
use std::io::{self, Write};

use anstream::AutoStream;
use anstream::stream::{AsLockedWrite, RawStream};

/// A standard stream, without colours where it is not a terminal.
///
/// It is locked for one write at a time. Nothing may hold the lock for longer: the progress bar is
/// drawn on stderr from other threads.
///
/// Once its reader has gone away, as in `| head`, writing does nothing and does not fail. How far a
/// command gets, and how it ends, must not depend on who reads what it says.
pub struct Stream<S: RawStream> {
    stream: AutoStream<S>,
    is_read: bool,
}

impl<S: RawStream> Stream<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: AutoStream::auto(stream), is_read: true }
    }
}

impl<S: RawStream + AsLockedWrite> Stream<S> {
    fn unless_closed(
        &mut self,
        write: impl FnOnce(&mut AutoStream<S>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.is_read {
            return Ok(());
        }
        match write(&mut self.stream) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_read = false;
                Ok(())
            }
            result => result,
        }
    }
}

impl<S: RawStream + AsLockedWrite> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unless_closed(|stream| stream.write_all(bytes))
    }

    fn write_fmt(&mut self, message: Arguments<'_>) -> io::Result<()> {
        // In one piece, so that nothing of another process or thread comes between.
        self.write_all(message.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_closed(Write::flush)
    }
}
