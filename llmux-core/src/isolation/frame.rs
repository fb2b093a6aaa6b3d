//! The frames on the socket between the host and a child: a head of 13 bytes (length, kind, number of the call), then the
//! message.
//!
//! `connection` reads and writes them in the host, `child` in the child. Deliberately absent: the meaning of a message.

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;

/// Bytes of the head: the length of the message in four bytes, the kind in one, the number in eight, little-endian.
const HEAD: usize = 13;

/// The largest message, in bytes. The largest reply of a hook has 64 MiB of parts, and one document beside them.
pub(super) const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    // To the child. Each of the first six has one reply of the same number.
    /// Comes first, before the child starts a thread.
    Restrict = 0,
    Load = 1,
    /// The configuration of the instance, as JSON text.
    Create = 2,
    Call = 3,
    /// Asks for the next chunk of a stream. The message is the number of the stream.
    Next = 4,
    /// The message is the time limit in milliseconds.
    CleanUp = 5,
    /// Ends the call of this number. The child confirms with an empty reply, or the reply is under way.
    Cancel = 6,
    /// Releases the state of this number.
    Release = 7,
    /// Releases the stream of this number.
    DropStream = 8,
    /// A part of the response to an HTTP request of the plugin.
    Fetched = 9,
    /// The time in nanoseconds, in the place of the number. Only if time is paused.
    Now = 10,

    // To the host.
    Reply = 16,
    Log = 17,
    Metric = 18,
    Record = 19,
    /// An HTTP request of the plugin. The child chooses its number.
    Fetch = 20,
    /// Permits one more piece of the response to the request of this number.
    More = 21,
    /// Ends the request of this number.
    DropFetch = 22,
    /// Nothing in the child can run. The number is that of the frames that the child has read; the message is the time at which
    /// its first sleep ends. Only if time is paused.
    Idle = 23,
}

impl Kind {
    fn read(byte: u8) -> Option<Self> {
        use Kind::{
            Call, Cancel, CleanUp, Create, DropFetch, DropStream, Fetch, Fetched, Idle, Load, Log, Metric,
            More, Next, Now, Record, Release, Reply, Restrict,
        };
        let to_child =
            [Restrict, Load, Create, Call, Next, CleanUp, Cancel, Release, DropStream, Fetched, Now];
        let to_host = [Reply, Log, Metric, Record, Fetch, More, DropFetch, Idle];
        to_child.into_iter().chain(to_host).find(|kind| *kind as u8 == byte)
    }
}

/// A frame that was read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) message: Bytes,
}

/// Appends a frame to a buffer.
///
/// # Errors
///
/// If the message is larger than [`MAX_MESSAGE`]. The buffer is then unchanged.
pub(super) fn write<T: Serialize + ?Sized>(
    buffer: &mut Vec<u8>,
    kind: Kind,
    number: u64,
    message: &T,
) -> Result<(), TooLarge> {
    let start = buffer.len();
    begin(buffer, kind, number);
    // A message of this crate can always be serialized into a vector.
    let _ = postcard::serialize_with_flavor(message, Appended(buffer));
    let length = buffer.len().saturating_sub(start + HEAD);
    match u32::try_from(length) {
        Ok(short) if length <= MAX_MESSAGE => {
            buffer[start..start + 4].copy_from_slice(&short.to_le_bytes());
            Ok(())
        }
        _ => {
            buffer.truncate(start);
            Err(TooLarge)
        }
    }
}

/// A buffer to which postcard appends. Its own flavor for vectors adds byte after byte.
struct Appended<'b>(&'b mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends a frame without a message to a buffer.
pub(super) fn write_empty(buffer: &mut Vec<u8>, kind: Kind, number: u64) {
    begin(buffer, kind, number);
}

fn begin(buffer: &mut Vec<u8>, kind: Kind, number: u64) {
    buffer.extend_from_slice(&[0; 4]);
    buffer.push(kind as u8);
    buffer.extend_from_slice(&number.to_le_bytes());
}

/// A message is too large to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Returns true if the first frame of a buffer is there as a whole.
pub(super) fn is_whole(buffer: &[u8]) -> bool {
    let length = buffer.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    length.is_some_and(|length| buffer.len() >= HEAD + length)
}

/// Takes the first frame out of a buffer; `None` if it is not there as a whole.
///
/// # Errors
///
/// If the head names an unknown kind or a message that is too large.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, &'static str> {
    let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
    let [a, b, c, d, kind, number @ ..] = *head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > MAX_MESSAGE {
        return Err("sent a message that is too large");
    }
    let kind = Kind::read(kind).ok_or("sent a message of an unknown kind")?;
    if buffer.len() < HEAD + length {
        // Grows with what arrives, and not by what the head promises.
        return Ok(None);
    }
    buffer.advance(HEAD);
    let message = buffer.split_to(length).freeze();
    Ok(Some(Frame { kind, number: u64::from_le_bytes(number), message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Taken = Option<(Kind, u64, Vec<u8>)>;

    fn taken(bytes: &[u8]) -> Result<Taken, &'static str> {
        let frame = take(&mut BytesMut::from(bytes))?;
        Ok(frame.map(|frame| (frame.kind, frame.number, frame.message.to_vec())))
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_once_it_is_there_as_a_whole() {
        let mut buffer = vec![];
        write(&mut buffer, Kind::Call, 7, "text").expect("small");
        for end in 0..buffer.len() {
            assert_eq!(taken(&buffer[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(taken(&buffer), Ok(Some((Kind::Call, 7, b"\x04text".to_vec()))));
    }

    #[test]
    fn a_head_with_an_unknown_kind_or_a_large_length_is_refused() {
        let mut buffer = vec![];
        write_empty(&mut buffer, Kind::Reply, 1);
        buffer[4] = 99;
        assert_eq!(taken(&buffer), Err("sent a message of an unknown kind"));
        buffer[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(taken(&buffer), Err("sent a message that is too large"));
    }
}
