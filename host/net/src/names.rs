//! What a certificate calls the client that shows it. It does not know what the names are good for, and verifies nothing: a
//! handshake has.

use rustls::pki_types::CertificateDer;

use crate::der;
use crate::describe::{address, member_of};
use crate::limits::{CERTIFICATE_NAMES_MAX, NAME_BYTES_MAX};

/// The names in the first certificate of a chain, with their kinds: its common name (`CN=`), then the alternative ones: DNS
/// names (`DNS=`), IP addresses (`IP=`), e-mail addresses (`EMAIL=`), URIs (`URI=`). The kind is part of the name: an authority
/// may well let a host be called what it would call no person. Each once, [`CERTIFICATE_NAMES_MAX`] at most. Left out are names that
/// are empty, longer than [`NAME_BYTES_MAX`], not UTF-8, or hold control characters; and wildcards, which name nobody.
///
/// None at all in the certificate of a member: it proves a machine of the cluster, which is nobody's client. Who gets hold of
/// one, or runs commands on a member, must not be somebody by that.
pub(crate) fn names(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let parsed = chain.first().and_then(|first| der::certificate(first));
    let Some(parsed) = parsed else { return Vec::new() };
    if parsed.dns_names.iter().any(|name| is_member(name)) {
        return Vec::new();
    }
    let text = |bytes: &&[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let common_name = parsed.subject.common_name.as_ref().and_then(text).map(|name| ("CN", name));
    let dns_names = parsed.dns_names.iter().filter_map(text).map(|name| ("DNS", name));
    let addresses = parsed.addresses.iter().filter_map(|bytes| address(bytes));
    let addresses = addresses.map(|name| ("IP", name));
    let emails = parsed.emails.iter().filter_map(text).map(|name| ("EMAIL", name));
    let uris = parsed.uris.iter().filter_map(text).map(|name| ("URI", name));
    let all = common_name.into_iter().chain(dns_names).chain(addresses).chain(emails).chain(uris);
    let mut names: Vec<String> = Vec::new();
    for (kind, name) in all.filter(|(_, name)| is_name(name) && !name.contains('*')) {
        let name = format!("{kind}={name}");
        if names.len() < CERTIFICATE_NAMES_MAX && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether somebody may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Names compare without case in DNS.
fn is_member(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| member_of(&name.to_ascii_lowercase()).is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;
    use crate::identity::member_name;

    fn names_of(common_name: &str, alternatives: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        if !common_name.is_empty() {
            let name = DnValue::Utf8String(common_name.to_owned());
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = alternatives;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        names(&[made.der().clone()])
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn the_common_name_comes_first_each_name_once_and_with_its_kind() {
        let uri = SanType::URI("spiffe://example/worker".try_into().unwrap());
        let email = SanType::Rfc822Name("ann@example".try_into().unwrap());
        let address = SanType::IpAddress("10.0.0.7".parse().unwrap());
        let found = names_of("ann", vec![uri, email, address, dns("host.example"), dns("ann")]);
        let expected = [
            "CN=ann",
            "DNS=host.example",
            "DNS=ann",
            "IP=10.0.0.7",
            "EMAIL=ann@example",
            "URI=spiffe://example/worker",
        ];
        assert_eq!(found, expected);
        assert_eq!(
            names_of("", vec![dns("host.example"), dns("host.example")]),
            ["DNS=host.example"]
        );
        assert_eq!(names_of("Änne Ж", Vec::new()), ["CN=Änne Ж"]);
        assert!(names_of("", Vec::new()).is_empty());
    }

    #[test]
    fn what_names_nobody_is_left_out() {
        assert!(names_of("an\nn", vec![dns("*.example")]).is_empty());
        assert!(names_of(&"n".repeat(NAME_BYTES_MAX + 1), Vec::new()).is_empty());
        let many = (0..20).map(|at| dns(&format!("host-{at}"))).collect();
        assert_eq!(names_of("ann", many).len(), CERTIFICATE_NAMES_MAX);
        assert!(names(&[]).is_empty());
        assert!(names(&[CertificateDer::from(vec![1, 2, 3])]).is_empty());
    }

    #[test]
    fn the_certificate_of_a_member_names_nobody() {
        let upper = member_name(3).to_ascii_uppercase();
        for member in [member_name(3), upper] {
            assert!(names_of("ann", vec![dns("host.example"), dns(&member)]).is_empty());
        }
        assert_eq!(names_of("ann", vec![dns("member-x.quorate.internal")]).len(), 2);
        // In the common name it is a text: members are told by their alternative names.
        assert_eq!(names_of(&member_name(3), Vec::new()).len(), 1);
    }
}
