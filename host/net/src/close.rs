//! Why connections and streams end: the numbers on the wire, and what the survivor is told. It does
//! not know who decides.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::limits::CLOSE_REASON_BYTES_MAX;

/// Codes with which this side closes a connection or cuts a stream. The numbers are part of the
/// protocol and never reused.
///
/// 0 to 255 belong to this crate; what is built on it may close with codes of its own from
/// [`CloseCode::FIRST_OF_USER`] on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum CloseCode {
    /// The peer has what it wanted. Also what a peer sends that dropped its connection without a
    /// word.
    Normal = 0,
    /// The server goes away. Another member, or this one a little later, will serve.
    ShuttingDown = 1,
    /// The peer sent bytes that the protocol does not allow. The same bytes will meet the same end.
    ProtocolError = 2,
    /// The server holds as many connections as it may. Later, or elsewhere.
    TooManyConnections = 3,
    /// A fault of our own.
    Internal = 4,
    /// On streams only: the sender was dropped before it finished, or the receiver before it had
    /// read all.
    Abandoned = 5,
    /// The connection offers a protocol that the handshake let through, but that nobody here
    /// serves.
    UnknownProtocol = 6,
    /// Who is served there shows a certificate, and the peer has shown none.
    CertificateRequired = 7,
    /// The certificate that the peer has shown is not for this protocol: a member's authority vouches for members, and a
    /// client's for clients.
    CertificateRefused = 8,
}

impl CloseCode {
    /// The first code that is not this crate's.
    pub const FIRST_OF_USER: u32 = 256;

    const ALL: [Self; 9] = [
        Self::Normal,
        Self::ShuttingDown,
        Self::ProtocolError,
        Self::TooManyConnections,
        Self::Internal,
        Self::Abandoned,
        Self::UnknownProtocol,
        Self::CertificateRequired,
        Self::CertificateRefused,
    ];

    /// The code's number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The code with that number, if this crate knows it.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| u64::from(code.number()) == number)
    }

    pub(crate) fn varint(self) -> VarInt {
        VarInt::from_u32(self.number())
    }
}

impl From<CloseCode> for u32 {
    fn from(code: CloseCode) -> Self {
        code.number()
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::ShuttingDown => "shutting-down",
            Self::ProtocolError => "protocol-error",
            Self::TooManyConnections => "too-many-connections",
            Self::Internal => "internal",
            Self::Abandoned => "abandoned",
            Self::UnknownProtocol => "unknown-protocol",
            Self::CertificateRequired => "certificate-required",
            Self::CertificateRefused => "certificate-refused",
        })
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed here")]
    Local,
    /// The peer closed it, with a code of [`CloseCode`] or of its own, and words for people.
    #[error("closed by the peer with code {code} ({reason:?})")]
    Peer {
        /// The number as received; [`CloseCode::from_number`] names it.
        code: u64,
        /// At most [`CLOSE_REASON_BYTES_MAX`] bytes of what the peer said.
        reason: String,
    },
    /// Nothing came from the peer for the idle timeout: it died, or the network did.
    #[error("lost: nothing heard for the idle timeout")]
    TimedOut,
    /// The peer does not know the connection: it has been restarted.
    #[error("lost: the peer has been restarted")]
    Reset,
    /// The peer's QUIC stack refused the connection before a handshake.
    #[error("refused by the peer")]
    Refused,
    /// The peer does not take the certificate that this end has shown; TLS tells it only after this end is through the handshake.
    #[error("the certificate that was shown is refused there: {0}")]
    CertificateRefused(String),
    /// One of the two broke the rules of QUIC or TLS.
    #[error("transport error: {0}")]
    Transport(String),
}

impl From<ConnectionError> for CloseReason {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::LocallyClosed => Self::Local,
            ConnectionError::ApplicationClosed(close) => {
                Self::Peer { code: close.error_code.into_inner(), reason: printable(&close.reason) }
            }
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused
            }
            ConnectionError::ConnectionClosed(close)
                if is_about_a_certificate(close.error_code) =>
            {
                Self::CertificateRefused(printable(&close.reason))
            }
            other => Self::Transport(other.to_string()),
        }
    }
}

/// TLS alerts with which an end rejects the other's certificate (RFC 8446, 6.2): bad, unsupported, revoked, expired, unknown
/// certificate, illegal parameter, unknown authority, access denied, a signature that does not verify, and none shown.
const CERTIFICATE_ALERTS: [u8; 10] = [42, 43, 44, 45, 46, 47, 48, 49, 51, 116];

pub(crate) fn is_about_a_certificate(code: TransportErrorCode) -> bool {
    CERTIFICATE_ALERTS.iter().any(|alert| code == TransportErrorCode::crypto(*alert))
}

/// What a peer said, for people: cut to the limit, and without control characters.
pub(crate) fn printable(reason: &[u8]) -> String {
    let cut = &reason[..reason.len().min(CLOSE_REASON_BYTES_MAX)];
    String::from_utf8_lossy(cut).chars().filter(|char| !char.is_control()).collect()
}

/// The longest beginning of `reason` that fits [`CLOSE_REASON_BYTES_MAX`].
pub(crate) fn cut_reason(reason: &str) -> &[u8] {
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason.as_bytes()[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_keep_their_numbers() {
        let numbers: Vec<(u32, String)> =
            CloseCode::ALL.iter().map(|code| (code.number(), code.to_string())).collect();
        let expected = [
            (0, "normal"),
            (1, "shutting-down"),
            (2, "protocol-error"),
            (3, "too-many-connections"),
            (4, "internal"),
            (5, "abandoned"),
            (6, "unknown-protocol"),
            (7, "certificate-required"),
            (8, "certificate-refused"),
        ];
        assert_eq!(numbers, expected.map(|(number, name)| (number, name.to_owned())));
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(u64::from(code.number())), Some(code));
        }
        assert_eq!(CloseCode::from_number(9), None);
        assert_eq!(CloseCode::from_number(u64::MAX), None);
    }

    #[test]
    fn reasons_are_cut_at_a_character_and_stripped_of_control_bytes() {
        let long = "ü".repeat(CLOSE_REASON_BYTES_MAX);
        assert_eq!(cut_reason(&long).len(), CLOSE_REASON_BYTES_MAX);
        let odd = format!("x{long}");
        assert_eq!(cut_reason(&odd).len(), CLOSE_REASON_BYTES_MAX - 1);
        assert_eq!(printable(b"a\x1b[31mb\nc\xff"), "a[31mbc\u{fffd}");
    }
}
