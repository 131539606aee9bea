//! Messages of the core on a connection: their length in four bytes, least significant first, and their bytes.

use std::io::{self, Read, Write};

use protobuf::Message as _;
use raft::eraftpb::Message;

/// Largest message that is sent or received, in bytes.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;

/// Writes `message` to `stream`, with one call.
///
/// # Errors
/// `InvalidInput` if the message has more than 64 MiB; nothing was written. Or the error of the stream.
pub fn write_message(stream: &mut impl Write, message: &Message) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    message.write_to_vec(&mut bytes).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message of more than 64 MiB"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&bytes)
}

/// Reads the next message from `stream`. Allocates only for bytes that have arrived.
///
/// # Errors
/// `UnexpectedEof` if the stream ends, `InvalidData` if it carries something else; or the error of the stream. After an
/// error the stream is useless: close it.
pub fn read_message(stream: &mut impl Read) -> io::Result<Message> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Message::parse_from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_and_other_bytes_are_refused() {
        let message = Message { from: 1, to: 2, term: 3, ..Message::default() };
        let mut bytes = Vec::new();
        write_message(&mut bytes, &message).unwrap();
        assert_eq!(read_message(&mut &bytes[..]).unwrap(), message);
        for cut in 0..bytes.len() {
            let error = read_message(&mut &bytes[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
        let error = read_message(&mut &[0xff; 64][..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
