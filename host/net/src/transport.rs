//! The settings of QUIC itself, and the UDP socket under it. It does not know TLS.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{
    BULKS_OPEN_MAX, CONNECTION_WINDOW_BYTES, INITIAL_RTT, KEEP_ALIVE_DIVISOR, LANES_OPEN_MAX,
    MEMBER_CONNECTION_WINDOW_BYTES, MEMBER_LANES_OPEN_MAX, MEMBER_SEND_WINDOW_BYTES,
    MEMBER_STREAM_WINDOW_BYTES, SEND_WINDOW_BYTES, SOCKET_BUFFER_BYTES, STREAM_WINDOW_BYTES,
};

/// Which end of a connection the settings are for: the one that opened it keeps it alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
    /// A member that dials another. What is dialled learns by [`widen`] that it is one.
    Dialler,
}

/// # Errors
/// What is wrong with `idle_timeout`: QUIC counts it in milliseconds below 2^62.
pub(crate) fn transport(end: End, idle_timeout: Duration) -> Result<Arc<TransportConfig>, String> {
    if idle_timeout < Duration::from_millis(1) {
        return Err("the idle timeout is below 1 ms".to_owned());
    }
    let idle = IdleTimeout::try_from(idle_timeout)
        .map_err(|_| format!("the idle timeout of {idle_timeout:?} is too long for QUIC"))?;
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(LANES_OPEN_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(BULKS_OPEN_MAX))
        .max_idle_timeout(Some(idle))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None);
    if end == End::Dialler {
        config
            .max_concurrent_bidi_streams(VarInt::from_u32(MEMBER_LANES_OPEN_MAX))
            .stream_receive_window(VarInt::from_u32(MEMBER_STREAM_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(MEMBER_CONNECTION_WINDOW_BYTES))
            .send_window(MEMBER_SEND_WINDOW_BYTES);
    }
    if end != End::Server {
        config.keep_alive_interval(Some(idle_timeout / KEEP_ALIVE_DIVISOR));
    }
    Ok(Arc::new(config))
}

/// Gives a connection that turned out to come from a member what QUIC lets change by then: all but
/// the windows of single streams.
pub(crate) fn widen(connection: &quinn::Connection) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(MEMBER_LANES_OPEN_MAX));
    connection.set_receive_window(VarInt::from_u32(MEMBER_CONNECTION_WINDOW_BYTES));
    connection.set_send_window(MEMBER_SEND_WINDOW_BYTES);
}

/// A UDP socket with large buffers. An IPv4 address in IPv6 form gives an IPv6 socket that speaks
/// IPv4. An unspecified IPv6 address also takes IPv4, where the system allows it.
pub(crate) fn bind_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false).or_else(|error| note("IPV6_V6ONLY", &error))?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).or_else(|error| note("SO_RCVBUF", &error))?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES).or_else(|error| note("SO_SNDBUF", &error))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A setting that is only wished for was refused: said, and carried on.
#[allow(clippy::unnecessary_wraps, reason = "takes the error's place in a chain of results")]
fn note(option: &str, error: &io::Error) -> io::Result<()> {
    tracing::debug!(option, %error, "socket option refused");
    Ok(())
}

/// `address` in the family of `like`: what a socket must be bound to that takes the place of one
/// bound to `like`.
pub(crate) fn in_family_of(like: SocketAddr, address: SocketAddr) -> SocketAddr {
    match (like, address.ip()) {
        (SocketAddr::V6(_), IpAddr::V4(ip)) => {
            SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())
        }
        _ => address,
    }
}

/// An address as people write it: IPv4 that came in over an IPv6 socket is IPv4 again.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
