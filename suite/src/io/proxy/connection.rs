//! One connection through the proxy, from its hello to its end.

use super::pump::{FrameIn, Pump};
use super::{Cut, Dialler, HELD_FOR_MAX, Seat, Shared};
use bytes::{Bytes, BytesMut};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::Encoder;
use wire::frame::{Frame, FrameCodec, FrameError};
use wire::handshake::{Hello, Role};

/// A dialler says who it is within this.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// After the dialler has closed its side, the other has so long to close its own.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(5);
/// What one read of replies may bring.
const REPLY_BYTES: usize = 64 * 1024;

/// Serves all listeners, for ever.
pub(super) async fn serve(listeners: Vec<TcpListener>, shared: Arc<Shared>) {
    let mut accepting = JoinSet::new();
    for (to, listener) in listeners.into_iter().enumerate() {
        accepting.spawn(accept(listener, to, shared.clone()));
    }
    while let Some(ended) = accepting.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the proxy no longer accepts: {error}"),
            Err(error) => tracing::error!("the proxy failed: {error}"),
        }
    }
}

async fn accept(listener: TcpListener, to: Seat, shared: Arc<Shared>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let shared = shared.clone();
                connections.spawn(async move {
                    // A connection that ends is what a proxy is for.
                    if let Err(error) = pass(stream, to, shared).await {
                        tracing::debug!(to, "a connection through the proxy ended: {error}");
                    }
                });
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a connection of the proxy failed: {error}");
                }
            }
        }
    }
}

async fn pass(stream: TcpStream, to: Seat, shared: Arc<Shared>) -> Result<(), FrameError> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut frames = FrameIn::new(read);
    let first = timeout(HELLO_WITHIN, frames.next()).await;
    let Some(first) = first.map_err(io::Error::from)?? else {
        return Ok(());
    };
    let hello: Hello = first.decode()?;
    let Some(from) = dialler(&hello, &shared) else {
        tracing::error!(
            ?hello,
            "a node that the suite did not start dialled the proxy"
        );
        return Ok(());
    };
    if !may_begin(from, to, &shared).await {
        shared.count(|counts| counts.ended += 1);
        return Ok(());
    }
    // A node that is down: the dialler's connection ends as well.
    let target = TcpStream::connect(shared.targets[to]).await?;
    target.set_nodelay(true)?;
    let (replies, mut out) = target.into_split();
    let hello = encoded(first)?;
    out.write_all(&hello).await?;
    frames.handshake_done();
    let pump = Pump::new(from, to, shared.clone(), hello);
    let forth = pump.run(frames, out);
    let back = send_back(replies, write, from, to, &shared);
    tokio::pin!(back);
    tokio::select! {
        passed = forth => {
            passed?;
            // Nothing else comes from the dialler; what is answered still goes back.
            timeout(LAST_WORDS_WITHIN, back).await.map_err(io::Error::from)??;
            Ok(())
        }
        sent = &mut back => Ok(sent?),
    }
}

fn dialler(hello: &Hello, shared: &Shared) -> Option<Dialler> {
    match &hello.role {
        Role::Client => Some(Dialler::Client),
        Role::Peer { address, .. } | Role::Founder { address } => {
            shared.seat_of(address).map(Dialler::Node)
        }
    }
}

/// A frame's bytes, as they came.
pub(super) fn encoded(frame: Frame) -> Result<Bytes, FrameError> {
    let mut codec = FrameCodec::before_handshake();
    codec.handshake_done();
    let mut bytes = BytesMut::new();
    codec.encode(frame, &mut bytes)?;
    Ok(bytes.freeze())
}

/// Waits while the link is cut silently; whether the connection may be made.
async fn may_begin(from: Dialler, to: Seat, shared: &Shared) -> bool {
    let mut changed = shared.changed.subscribe();
    let passes = changed.wait_for(|_| shared.rules().cut(from, to) != Some(Cut::Silent));
    match timeout(HELD_FOR_MAX, passes).await {
        Ok(Ok(_)) => shared.rules().cut(from, to).is_none(),
        _ => false,
    }
}

/// Carries what the target answers; returns at its end, or when the link is cut for good.
async fn send_back(
    mut replies: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    from: Dialler,
    to: Seat,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(REPLY_BYTES);
    loop {
        buffer.clear();
        if replies.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if !may_begin(from, to, shared).await {
            return Ok(());
        }
        write.write_all(&buffer).await?;
    }
}
