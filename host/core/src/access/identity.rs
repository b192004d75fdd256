//! What somebody is known as, its text and its bytes. The same type names people in access lists: there it is a pattern, and
//! matches whoever has it. How an identity was proved is not known here.

use core::net::IpAddr;
use std::fmt;

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::{ErrorCode, Refusal};
use crate::ids::Millis;
use crate::limits;

/// How an identity is proved, or what it stands for. The names are ZooKeeper's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `world:anyone`: everybody. Only in lists.
    World,
    /// `auth:`: the identities of whoever sets the list, put in its place then. Only in lists, and never stored.
    Auth,
    /// `digest:USER:HASH`: whoever knew the password; the hash is base64 of SHA-1 of `USER:PASSWORD`.
    Digest,
    /// `ip:ADDRESS` or `ip:ADDRESS/BITS`: whoever asks from there. Only in lists.
    Ip,
    /// `x509:SUBJECT`: whoever has the certificate's key.
    X509,
    /// `token:NAME`: whoever showed a token of that name.
    Token,
    /// `super:`: may do everything.
    Super,
}

impl Scheme {
    /// All of them, in the order of their numbers.
    pub const ALL: &'static [Self] =
        &[Self::World, Self::Auth, Self::Digest, Self::Ip, Self::X509, Self::Token, Self::Super];

    /// The word before the first colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Auth => "auth",
            Self::Digest => "digest",
            Self::Ip => "ip",
            Self::X509 => "x509",
            Self::Token => "token",
            Self::Super => "super",
        }
    }

    /// Whether a session can have an identity of this scheme. The others stand in lists alone.
    #[must_use]
    pub fn is_held(self) -> bool {
        match self {
            Self::Digest | Self::X509 | Self::Token | Self::Super => true,
            Self::World | Self::Auth | Self::Ip => false,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::World => 0,
            Self::Auth => 1,
            Self::Digest => 2,
            Self::Ip => 3,
            Self::X509 => 4,
            Self::Token => 5,
            Self::Super => 6,
        }
    }
}

/// What somebody is known as, or a pattern in a list. Text: `SCHEME:ID`. What there is of it is valid for its scheme.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    scheme: Scheme,
    id: String,
}

impl Identity {
    /// An identity of this scheme.
    ///
    /// # Errors
    /// `limit` for too many bytes; `invalid-acl` for an id that the scheme does not have.
    pub fn new(scheme: Scheme, id: impl Into<String>) -> Result<Self, Refusal> {
        let id = id.into();
        if id.len() > limits::IDENTITY_BYTES_MAX {
            return Err(Refusal::limit(
                "bytes of an identity",
                id.len() as u64,
                limits::IDENTITY_BYTES_MAX as u64,
            ));
        }
        let identity = Self { scheme, id };
        match identity.flaw() {
            None => Ok(identity),
            Some(why) => Err(invalid(&identity.to_string(), why)),
        }
    }

    /// Everybody.
    #[must_use]
    pub fn anyone() -> Self {
        Self { scheme: Scheme::World, id: "anyone".to_owned() }
    }

    /// Who may do everything.
    #[must_use]
    pub fn superuser() -> Self {
        Self { scheme: Scheme::Super, id: String::new() }
    }

    /// Reads the text `SCHEME:ID`.
    ///
    /// # Errors
    /// `invalid-acl` for another form or scheme; those of [`Identity::new`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (name, id) =
            text.split_once(':').ok_or_else(|| invalid(text, "it has no colon: SCHEME:ID"))?;
        let scheme = Scheme::ALL.iter().find(|scheme| scheme.name() == name).ok_or_else(|| {
            invalid(text, "its scheme is none of world, auth, digest, ip, x509, token, super")
        })?;
        Self::new(*scheme, id)
    }

    /// How it is proved.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What stands behind the scheme.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As shown to those who may see a list and not change it: without the hash of a password (ZooKeeper's `USER:x`).
    #[must_use]
    pub fn masked(&self) -> Self {
        match (self.scheme, self.id.split_once(':')) {
            (Scheme::Digest, Some((user, _))) => {
                Self { scheme: Scheme::Digest, id: format!("{user}:x") }
            }
            _ => self.clone(),
        }
    }

    /// Whether, as a pattern, it matches somebody with these identities who asks from this address.
    #[must_use]
    pub fn matches(&self, identities: &[Self], address: Option<IpAddr>) -> bool {
        match self.scheme {
            Scheme::World => true,
            Scheme::Auth => false,
            Scheme::Ip => address
                .zip(Network::parse(&self.id))
                .is_some_and(|(address, network)| network.has(address)),
            Scheme::Digest | Scheme::X509 | Scheme::Token | Scheme::Super => {
                identities.contains(self)
            }
        }
    }

    /// What is wrong with it.
    fn flaw(&self) -> Option<&'static str> {
        if self.id.chars().any(char::is_control) {
            return Some("it has a control character");
        }
        let is_valid = match self.scheme {
            Scheme::World => self.id == "anyone",
            Scheme::Auth | Scheme::Super => self.id.is_empty(),
            Scheme::Digest => self.id.split_once(':').is_some_and(|(user, hash)| {
                !user.is_empty() && !hash.is_empty() && !hash.contains(':')
            }),
            Scheme::Ip => Network::parse(&self.id).is_some(),
            Scheme::X509 | Scheme::Token => !self.id.is_empty(),
        };
        if is_valid {
            return None;
        }
        Some(match self.scheme {
            Scheme::World => "the only id of this scheme is anyone",
            Scheme::Auth | Scheme::Super => "this scheme has no ids",
            Scheme::Digest => "its id is not USER:HASH",
            Scheme::Ip => "its id is no address, nor ADDRESS/BITS",
            Scheme::X509 | Scheme::Token => "its id is empty",
        })
    }

    /// Never less than the bytes that it takes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.id.len() + 4
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u8(self.scheme.number());
        writer.text(&self.id);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For an unknown scheme, or an id that the scheme does not have.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "identity";
        let number = reader.u8(WHAT)?;
        let scheme = Scheme::ALL.iter().find(|scheme| scheme.number() == number);
        let scheme = *scheme.ok_or(malformed(WHAT))?;
        Self::new(scheme, reader.text(WHAT)?).map_err(|_| malformed(WHAT))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme.name(), self.id)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn invalid(text: &str, why: &str) -> Refusal {
    let shown: String = text.chars().take(128).flat_map(char::escape_default).collect();
    Refusal::new(ErrorCode::InvalidAcl, format!("\"{shown}\": {why}"))
}

/// An identity that a session has, and until when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// What it is known as.
    pub identity: Identity,
    /// From this time on it is not any more, by the clock of transactions; none if it stays as long as the session.
    pub expires: Option<Millis>,
}

impl Held {
    /// One that stays as long as the session.
    #[must_use]
    pub fn for_good(identity: Identity) -> Self {
        Self { identity, expires: None }
    }

    /// Whether it is one at this time.
    #[must_use]
    pub fn is_at(&self, now: Millis) -> bool {
        self.expires.is_none_or(|at| now < at)
    }

    /// Never less than the bytes that it takes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.identity.bytes_max() + 11
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        self.identity.write(writer);
        writer.option(self.expires, |writer, at| writer.u64(at.0));
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// As [`Identity::read`]; for a scheme that no session can have.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "identity of a session";
        let identity = Identity::read(reader)?;
        if !identity.scheme.is_held() {
            return Err(malformed(WHAT));
        }
        let expires = reader.option(WHAT, |reader| reader.u64(WHAT).map(Millis))?;
        Ok(Self { identity, expires })
    }

    /// Writes the identities of a session.
    pub fn write_all(all: &[Self], writer: &mut Writer) {
        writer.u64(all.len() as u64);
        for held in all {
            held.write(writer);
        }
    }

    /// Reads the identities of a session.
    ///
    /// # Errors
    /// As [`Held::read`]; for too many, and for another order than ascending by identity, each once.
    pub fn read_all(reader: &mut Reader) -> Result<Vec<Self>, Malformed> {
        const WHAT: &str = "identities of a session";
        let count = reader.count(WHAT, limits::IDENTITIES_PER_SESSION_MAX)?;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Self::read(reader)?);
        }
        let is_sorted = all.is_sorted_by(|a, b| a.identity < b.identity);
        if is_sorted { Ok(all) } else { Err(malformed(WHAT)) }
    }
}

/// Addresses that begin alike.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = width(address);
        let bits = match bits {
            None => width,
            // As Rust reads numbers, "+8" is one too.
            Some(bits) if !bits.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        };
        Some(Self { address, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        // A socket of both families shows IPv4 clients as mapped ones.
        let address = match self.address {
            IpAddr::V4(_) => address.to_canonical(),
            IpAddr::V6(_) => address,
        };
        let bits = width(self.address);
        if width(address) != bits {
            return false;
        }
        let shift = bits - self.bits;
        let head = |address| number(address).checked_shr(shift).unwrap_or(0);
        head(address) == head(self.address)
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Identity {
        Identity::parse(text).expect(text)
    }

    #[test]
    fn identities_come_back_as_text_and_as_bytes() {
        for text in [
            "world:anyone",
            "auth:",
            "digest:user:D/InIHSb7yEEbrWz8b9l71RjZJU=",
            "ip:10.0.0.0/8",
            "ip:10.1.2.3",
            "ip:fe80::/10",
            "ip:0.0.0.0/0",
            "x509:CN=a,O=b c",
            "token:ci",
            "super:",
        ] {
            let one = identity(text);
            assert_eq!(one.to_string(), text);
            let mut writer = Writer::new();
            one.write(&mut writer);
            assert!(writer.len() <= one.bytes_max());
            assert_eq!(Identity::read(&mut Reader::new(writer.finish())), Ok(one));
        }
    }

    #[test]
    fn what_is_no_identity_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no colon"),
            ("anyone", "no colon"),
            ("sasl:a", "its scheme is none of"),
            ("world:all", "is anyone"),
            ("world:", "is anyone"),
            ("auth:me", "no ids"),
            ("super:me", "no ids"),
            ("digest:user", "not USER:HASH"),
            ("digest:user:", "not USER:HASH"),
            ("digest::hash", "not USER:HASH"),
            ("digest:a:b:c", "not USER:HASH"),
            ("ip:10.0.0", "no address"),
            ("ip:10.0.0.0/33", "no address"),
            ("ip:10.0.0.0/+8", "no address"),
            ("ip:10.0.0.0/", "no address"),
            ("ip:fe80::/129", "no address"),
            ("x509:", "empty"),
            ("token:", "empty"),
            ("token:a\nb", "control character"),
        ] {
            let refusal = Identity::parse(text).expect_err(text);
            assert_eq!(refusal.code, ErrorCode::InvalidAcl, "{text:?}");
            assert!(refusal.message.contains(why), "{text:?}: {refusal}");
        }
        let long = format!("token:{}", "x".repeat(limits::IDENTITY_BYTES_MAX + 1));
        assert_eq!(Identity::parse(&long).expect_err("long").code, ErrorCode::LimitPassed);
    }

    #[test]
    fn networks_have_the_addresses_that_begin_alike() {
        for (pattern, address, expected) in [
            ("ip:10.0.0.0/8", "10.255.0.1", true),
            ("ip:10.0.0.0/8", "11.0.0.1", false),
            ("ip:10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("ip:10.1.2.3", "10.1.2.3", true),
            ("ip:10.1.2.3", "10.1.2.2", false),
            ("ip:10.1.2.3/31", "10.1.2.2", true),
            ("ip:0.0.0.0/0", "200.1.1.1", true),
            ("ip:0.0.0.0/0", "fe80::1", false),
            ("ip:::/0", "fe80::1", true),
            ("ip:fe80::/10", "febf::1", true),
            ("ip:fe80::/10", "fec0::1", false),
        ] {
            let address = Some(address.parse().expect(address));
            assert_eq!(identity(pattern).matches(&[], address), expected, "{pattern} {address:?}");
            assert!(!identity(pattern).matches(&[], None));
        }
    }

    #[test]
    fn an_identity_matches_itself_and_everybody_is_anyone() {
        let alice = [identity("x509:CN=alice"), identity("token:ci")];
        assert!(identity("token:ci").matches(&alice, None));
        assert!(!identity("token:cd").matches(&alice, None));
        assert!(identity("world:anyone").matches(&[], None));
        assert!(!identity("auth:").matches(&alice, None));
    }

    #[test]
    fn a_masked_identity_shows_no_hash() {
        assert_eq!(identity("digest:user:secret").masked().to_string(), "digest:user:x");
        assert_eq!(identity("x509:CN=a").masked().to_string(), "x509:CN=a");
    }

    #[test]
    fn identities_of_a_session_are_ascending_and_each_once() {
        let held = |text: &str| Held { identity: identity(text), expires: Some(Millis(5)) };
        let read = |all: &[Held]| {
            let mut writer = Writer::new();
            Held::write_all(all, &mut writer);
            Held::read_all(&mut Reader::new(writer.finish()))
        };
        let all = [held("digest:a:b"), held("token:a"), Held::for_good(Identity::superuser())];
        assert_eq!(read(&all), Ok(all.to_vec()));
        assert!(read(&[held("token:a"), held("token:a")]).is_err());
        assert!(read(&[held("token:b"), held("token:a")]).is_err());
        assert!(read(&[held("world:anyone")]).is_err());
        assert!(all[0].is_at(Millis(4)) && !all[0].is_at(Millis(5)));
    }
}
