//! Closing a connection so that the last words arrive.
//!
//! A socket that is closed while bytes of the peer lie unread in it is reset, and the reset may
//! overtake what was written just before. So: write, end the writing side, and read on until the
//! peer has closed too, within bounds.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest wait for a peer that has been told goodbye.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes read and thrown away while waiting; a peer that sends more is cut off.
const MAX_DISCARDED: usize = 256 * 1024;
/// Room for one read.
const READ_SIZE: usize = 4 * 1024;

/// Sends `words` (perhaps none) and sees the connection to its end. Never takes longer than [`PATIENCE`].
pub(crate) async fn say(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), words: &[u8]) {
    let talk = async {
        if stream.write_all(words).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        let mut rest = vec![0; READ_SIZE];
        let mut discarded = 0;
        while discarded < MAX_DISCARDED {
            match stream.read(&mut rest).await {
                Ok(0) | Err(_) => return,
                Ok(length) => discarded += length,
            }
        }
    };
    // Whether the peer was patient enough to listen changes nothing any more.
    let _ = tokio::time::timeout(PATIENCE, talk).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_arrive_whatever_the_peer_still_sends() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let peer = tokio::spawn(async move {
            far.write_all(&[b'x'; 1000]).await.unwrap();
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            heard
        });
        say(&mut near, b"bye").await;
        assert_eq!(peer.await.unwrap(), b"bye");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_closes_is_not_waited_for() {
        let (mut near, _far) = tokio::io::duplex(64);
        let begun = tokio::time::Instant::now();
        say(&mut near, b"bye").await;
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
