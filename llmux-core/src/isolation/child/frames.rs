//! The frames that the host sends, read from the socket.

use std::{
    fs::File,
    io::{self, Read},
};

use bytes::BytesMut;

use crate::isolation::frame::{self, Frame};

/// The frames that the host sends.
pub(super) struct Frames {
    pub(super) socket: File,
    buffer: BytesMut,
    piece: Vec<u8>,
}

impl Frames {
    pub(super) fn new(socket: File) -> Self {
        Self { socket, buffer: BytesMut::new(), piece: vec![0; 64 * 1024] }
    }

    /// Returns true if the next frame has been read already.
    pub(super) fn has_next(&self) -> bool {
        frame::is_whole(&self.buffer)
    }

    /// Waits for the next frame; `None` if the host has closed the socket.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = frame::take(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.socket.read(&mut self.piece) {
                Ok(0) => return Ok(None),
                Ok(length) => self.buffer.extend_from_slice(&self.piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
