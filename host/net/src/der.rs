//! Reads as much of an X.509 certificate (RFC 5280) as people want to see: names, times, whether it
//! may sign. It verifies nothing, and does not know files. Input is bounded by its slice: nothing is allocated by a
//! length that it claims.
//!
//! Of our own because it is little: x509-parser would bring a dozen crates, one of which RocksDB's
//! build shares and is compiled anew for. What matters is verified by rustls.

/// The parts of a certificate. Times are in seconds since 1970, 0 for those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate<'a> {
    pub(crate) issuer: Name<'a>,
    pub(crate) subject: Name<'a>,
    pub(crate) valid_from: u64,
    pub(crate) valid_until: u64,
    pub(crate) is_authority: bool,
    pub(crate) dns_names: Vec<&'a [u8]>,
    /// 4 or 16 bytes each, if they are right.
    pub(crate) addresses: Vec<&'a [u8]>,
    pub(crate) emails: Vec<&'a [u8]>,
    pub(crate) uris: Vec<&'a [u8]>,
    /// What its key may be used for; none if the certificate leaves it open.
    pub(crate) purposes: Option<Purposes>,
}

/// Ends of a connection that a certificate is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Purposes {
    pub(crate) is_for_servers: bool,
    pub(crate) is_for_clients: bool,
}

/// A distinguished name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// As it is encoded.
    pub(crate) raw: &'a [u8],
    /// Its first common name.
    pub(crate) common_name: Option<&'a [u8]>,
    /// Whether the common name, in UTF-8, is all of it.
    pub(crate) is_common_name_alone: bool,
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Tags of the context: version and extensions of a certificate, four kinds of alternative names.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 29, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];
const SERVER_AUTHENTICATION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTHENTICATION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Reads a certificate; `None` if it is none.
pub(crate) fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
    let mut outer = Reader(der);
    let mut signed = Reader(outer.take(SEQUENCE)?);
    let mut body = Reader(signed.take(SEQUENCE)?);
    body.take_if(VERSION);
    body.take(INTEGER)?; // serial number
    body.take(SEQUENCE)?; // algorithm of the signature
    let issuer = name(body.take(SEQUENCE)?)?;
    let mut validity = Reader(body.take(SEQUENCE)?);
    let (valid_from, valid_until) = (validity.time()?, validity.time()?);
    let subject = name(body.take(SEQUENCE)?)?;
    let mut found = Certificate {
        issuer,
        subject,
        valid_from,
        valid_until,
        is_authority: false,
        dns_names: Vec::new(),
        addresses: Vec::new(),
        emails: Vec::new(),
        uris: Vec::new(),
        purposes: None,
    };
    while let Some((tag, content)) = body.next() {
        if tag == EXTENSIONS {
            let mut extensions = Reader(Reader(content).take(SEQUENCE)?);
            while !extensions.0.is_empty() {
                found.read_extension(extensions.take(SEQUENCE)?)?;
            }
        }
    }
    Some(found)
}

impl<'a> Certificate<'a> {
    fn read_extension(&mut self, extension: &'a [u8]) -> Option<()> {
        let mut extension = Reader(extension);
        let id = extension.take(OBJECT_ID)?;
        extension.take_if(BOOLEAN); // critical
        let mut value = Reader(extension.take(OCTET_STRING)?);
        if id == BASIC_CONSTRAINTS {
            let mut constraints = Reader(value.take(SEQUENCE)?);
            self.is_authority = constraints.take_if(BOOLEAN).is_some_and(|is| is != [0]);
        } else if id == SUBJECT_ALTERNATIVE_NAME {
            let mut names = Reader(value.take(SEQUENCE)?);
            while !names.0.is_empty() {
                match names.next()? {
                    (DNS_NAME, name) => self.dns_names.push(name),
                    (IP_ADDRESS, address) => self.addresses.push(address),
                    (EMAIL, address) => self.emails.push(address),
                    (URI, uri) => self.uris.push(uri),
                    _ => {}
                }
            }
        } else if id == EXTENDED_KEY_USAGE {
            let mut purposes = Purposes::default();
            let mut named = Reader(value.take(SEQUENCE)?);
            while !named.0.is_empty() {
                let purpose = named.take(OBJECT_ID)?;
                purposes.is_for_servers |= purpose == SERVER_AUTHENTICATION;
                purposes.is_for_clients |= purpose == CLIENT_AUTHENTICATION;
            }
            self.purposes = Some(purposes);
        }
        Some(())
    }
}

fn name(raw: &[u8]) -> Option<Name<'_>> {
    let mut parts = Reader(raw);
    let mut found = Name { raw, common_name: None, is_common_name_alone: false };
    let mut parts_count = 0;
    while !parts.0.is_empty() {
        let mut part = Reader(parts.take(SET)?);
        while !part.0.is_empty() {
            parts_count += 1;
            let mut attribute = Reader(part.take(SEQUENCE)?);
            let id = attribute.take(OBJECT_ID)?;
            let (tag, text) = attribute.next()?;
            if id == COMMON_NAME && found.common_name.is_none() {
                found.common_name = Some(text);
                found.is_common_name_alone = tag == UTF8_STRING;
            }
        }
    }
    found.is_common_name_alone &= parts_count == 1;
    Some(found)
}

/// What is left of a run of DER elements.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, whatever it is.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, short], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
                let length = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next element, which must be one of `tag`.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The next element if it is one of `tag`; else it stays.
    fn take_if(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&tag)).then(|| self.take(tag))?
    }

    fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.next()?;
        let text = text.strip_suffix(b"Z")?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = number(year)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (number(year)?, rest)
            }
            _ => return None,
        };
        let &[m1, m2, d1, d2, h1, h2, n1, n2, s1, s2] = rest else { return None };
        let month = number(&[m1, m2]).filter(|month| (1..=12).contains(month))?;
        let day = number(&[d1, d2]).filter(|day| (1..=31).contains(day))?;
        let of_day = number(&[h1, h2])? * 3600 + number(&[n1, n2])? * 60 + number(&[s1, s2])?;
        Some(days_since_1970(year, month, day).map_or(0, |days| days * 86_400 + of_day))
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// `None` before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March put the leap day last.
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    (365 * year + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(719_468)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let time = |tag, text: &str| {
            let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            Reader(&bytes).time()
        };
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(UTC_TIME, "500101000000Z"), Some(0));
        assert_eq!(time(GENERALIZED_TIME, "20000229000000Z"), Some(951_782_400));
        assert_eq!(time(GENERALIZED_TIME, "20240229235959Z"), Some(1_709_251_199));
        assert_eq!(time(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for bad in
            ["20001301000000Z", "2000010100000", "20000100000000Z", "2000x101000000Z", "Z", ""]
        {
            assert_eq!(time(GENERALIZED_TIME, bad), None, "{bad}");
        }
    }

    #[test]
    fn no_cut_or_changed_certificate_is_a_panic() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "10.0.0.1".to_owned()];
        let params = rcgen::CertificateParams::new(names).unwrap();
        let made = params.self_signed(&key).unwrap();
        let whole = certificate(made.der()).unwrap();
        assert_eq!(whole.dns_names, [b"localhost"]);
        assert_eq!(whole.addresses, [[10, 0, 0, 1]]);
        for at in 0..made.der().len() {
            assert_eq!(certificate(&made.der()[..at]), None, "{at} bytes");
            for byte in 0..=255 {
                let mut changed = made.der().to_vec();
                changed[at] = byte;
                certificate(&changed);
            }
        }
    }
}
