//! The connection to the mail server, bounded: a server can't fill our memory, and what it sends before TLS can't pass for
//! what it says under TLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Bytes that a server may send during one mail. Its answers are lines of 512 bytes (RFC 5321, section 4.5.3.1.5), and a TLS
/// handshake with long chains of certificates is some 20 kB; the library reads a line of any length into memory.
const LARGEST: usize = 256 * 1024;

/// Whether the server ended the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One connection. It hands out a line at most per read: the library keeps what it read beyond the answer to STARTTLS and would
/// take it for an answer under TLS, so that whoever stands between could put answers there.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: BufReader<S>,
    peer: SocketAddr,
    left: usize,
    ended: Ended,
}

impl<S: AsyncRead> Wire<S> {
    pub(super) fn over(stream: S, peer: SocketAddr, ended: &Ended) -> Self {
        Self { stream: BufReader::new(stream), peer, left: LARGEST, ended: ended.clone() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match ready!(Pin::new(&mut this.stream).poll_fill_buf(cx)) {
            Ok(read) => read,
            Err(error) => {
                this.ended.note();
                return Poll::Ready(Err(error));
            }
        };
        if read.is_empty() {
            this.ended.note();
            return Poll::Ready(Ok(()));
        }
        let line = read.iter().position(|byte| *byte == b'\n').map_or(read.len(), |at| at + 1);
        let taken = line.min(buf.remaining());
        if taken > this.left {
            return Poll::Ready(Err(io::Error::other("the mail server sends too much")));
        }
        buf.put_slice(&read[..taken]);
        this.left -= taken;
        Pin::new(&mut this.stream).consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Err(_))) {
            this.ended.note();
        }
        written
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> AsyncTokioStream for Wire<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_read_ends_with_a_line() {
        let (mut server, client) = tokio::io::duplex(4096);
        let ended = Ended::default();
        let mut wire = Wire::over(client, "127.0.0.1:25".parse().unwrap(), &ended);
        server.write_all(b"220 go ahead\r\n250 forged\r\nrest").await.unwrap();
        let mut buffer = [0; 4096];
        for expected in [&b"220 go ahead\r\n"[..], b"250 forged\r\n", b"rest"] {
            let read = wire.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..read], expected);
        }
        assert!(!ended.is_so());
        drop(server);
        assert_eq!(wire.read(&mut buffer).await.unwrap(), 0);
        assert!(ended.is_so());
    }

    #[tokio::test]
    async fn a_server_says_so_much_and_no_more() {
        let (mut server, client) = tokio::io::duplex(4096);
        let ended = Ended::default();
        let mut wire = Wire::over(client, "127.0.0.1:25".parse().unwrap(), &ended);
        tokio::spawn(async move { while server.write_all(&[b'x'; 4096]).await.is_ok() {} });
        let mut all = Vec::new();
        assert!(wire.read_to_end(&mut all).await.is_err());
        assert!(all.len() <= LARGEST, "{}", all.len());
    }
}
