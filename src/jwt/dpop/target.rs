//! Where a request goes to, as `htu` names it.

/// An `http` or `https` URI without query and fragment, in its normal form: equal ones are equal
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `https://host` or `https://host:port`; the port only where it is not the scheme's own.
    origin: String,
    path: String,
}

impl Target {
    /// What stands before the paths of a service: its final slashes are not part of it.
    pub(super) fn base(url: &str) -> Option<Self> {
        let mut base = Self::of_request(url).filter(|_| !url.contains(['?', '#']))?;
        base.path.truncate(base.path.trim_end_matches('/').len());
        Some(base)
    }

    /// What a URI says without its query and fragment, if it is one of a request over HTTP.
    ///
    /// RFC 3986 §6.2.2 and §6.2.3: scheme and host in lower case, no port where it is the default one,
    /// a path of at least `/` and in its normal form.
    pub(super) fn of_request(uri: &str) -> Option<Self> {
        let uri = &uri[..uri.find(['?', '#']).unwrap_or(uri.len())];
        let (scheme, rest) = uri.split_once("://")?;
        let (scheme, default_port) = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => ("https", 443),
            _ if scheme.eq_ignore_ascii_case("http") => ("http", 80),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority)?;
        let mut origin = format!("{scheme}://{}", host.to_ascii_lowercase());
        let port = match port {
            "" => default_port,
            digits => digits.parse::<u16>().ok()?,
        };
        if port != default_port {
            origin.push_str(&format!(":{port}"));
        }
        let path = normal_path(path)?;
        Some(Self { origin, path })
    }

    /// Whether this base and a path, in its normal form, make up the target.
    pub(super) fn followed_by(&self, path: &str, target: &Self) -> bool {
        target.origin == self.origin && target.path.strip_prefix(&self.path) == Some(path)
    }
}

/// Host and port; nothing where there is a user as well, or a host that is none.
fn split_port(authority: &str) -> Option<(&str, &str)> {
    let end = match authority.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_host = match host.strip_prefix('[') {
        Some(address) => address
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || b":.]".contains(&byte)),
        None => host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => digits,
        None if port.is_empty() => "",
        None => return None,
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    (!host.is_empty() && is_host && is_port).then_some((host, port))
}

/// A path in its normal form; nothing where it is none.
///
/// RFC 3986 §6.2.2: percent-encoding in upper case, and only where it is needed; no dot segments.
pub(super) fn normal_path(path: &str) -> Option<String> {
    let Some(rest) = path.strip_prefix('/') else {
        return path.is_empty().then(|| "/".to_owned());
    };
    let rest = normal_encoding(rest)?;
    let mut segments: Vec<&str> = Vec::new();
    for segment in rest.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    // `/a/..` is `/`, and `/a/b/.` is `/a/b/`.
    if rest
        .rsplit('/')
        .next()
        .is_some_and(|last| last == "." || last == "..")
    {
        segments.push("");
    }
    Some(format!("/{}", segments.join("/")))
}

fn normal_encoding(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                let byte = u8::try_from(high * 16 + low).ok()?;
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    normal.push(char::from(byte));
                } else {
                    normal.push_str(&format!("%{byte:02X}"));
                }
            }
            byte if byte.is_ascii_graphic() => normal.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(uri: &str) -> Option<String> {
        let target = Target::of_request(uri)?;
        Some(target.origin + &target.path)
    }

    #[test]
    fn equivalent_addresses_are_equal() {
        let plain = "https://api.example.org/a/~b";
        for same in [
            plain,
            "HTTPS://api.example.org/a/~b",
            "https://API.Example.ORG/a/~b",
            "https://api.example.org:443/a/~b",
            "https://api.example.org:0443/a/~b",
            "https://api.example.org:/a/~b",
            "https://api.example.org/a/%7Eb",
            "https://api.example.org/a/%7e%62",
            "https://api.example.org/a/./~b",
            "https://api.example.org/a/c/../~b",
            "https://api.example.org/a/%2e%2E/a/~b",
            "https://api.example.org/../a/~b",
            "https://api.example.org/a/~b?x=/../y#z",
            "https://api.example.org/a/~b#z?x",
        ] {
            assert_eq!(normal(same).as_deref(), Some(plain), "{same}");
        }
        let root = Some("https://h/".to_owned());
        for same in [
            "https://h",
            "https://h/",
            "https://h?q",
            "https://h/a/..",
            "https://h/.",
        ] {
            assert_eq!(normal(same), root, "{same}");
        }
        assert_eq!(normal("http://h:80/"), Some("http://h/".into()));
        assert_eq!(
            normal("https://[2001:DB8::1]:8443/"),
            Some("https://[2001:db8::1]:8443/".into())
        );
        assert_eq!(
            normal("https://h/%c3%bc%2f"),
            Some("https://h/%C3%BC%2F".into())
        );
    }

    #[test]
    fn other_addresses_are_not_equal() {
        let plain = normal("https://api.example.org/a/b");
        for other in [
            "http://api.example.org/a/b",
            "https://api.example.org:8443/a/b",
            "https://api.example.org:80/a/b",
            "https://api.example.com/a/b",
            "https://api.example.org./a/b",
            "https://api.example.org/A/b",
            "https://api.example.org/a/b/",
            "https://api.example.org//a/b",
            "https://api.example.org/a%2fb",
            "https://api.example.org/a%252Fb",
            "https://api.example.org/a/b/.",
            "https://api.example.org/a",
        ] {
            let other = normal(other);
            assert!(other.is_some());
            assert_ne!(other, plain);
        }
    }

    #[test]
    fn what_no_request_goes_to_is_no_target() {
        for none in [
            "",
            "/a/b",
            "api.example.org/a",
            "//api.example.org/a",
            "ftp://api.example.org/a",
            "https:/api.example.org/a",
            "https:///a",
            "https://:443/a",
            "https://user@api.example.org/a",
            "https://user:443@api.example.org/a",
            "https://api.example.org@evil.example/a",
            "https://api.example.org:x/a",
            "https://api.example.org:65536/a",
            "https://api.example.org:4:4/a",
            "https://[::1/a",
            "https://[::1]x/a",
            "https://api.example.org\\a",
            "https://api.example.org/a b",
            "https://api.example.org/%",
            "https://api.example.org/%2",
            "https://api.example.org/%zz",
            "https://api.example.org/ü",
            " https://api.example.org/a",
        ] {
            assert_eq!(normal(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_is_normal_stays_as_it_is(path in "(/[a-z.%2eE~-]{0,4}){0,5}", any: String) {
            let _ = Target::base(&any);
            for uri in [any.clone(), format!("https://h/{any}"), format!("https://h{path}")] {
                if let Some(normal) = normal(&uri) {
                    prop_assert_eq!(super::tests::normal(&normal), Some(normal.clone()));
                    prop_assert!(!normal.contains("/./") && !normal.contains("/../"));
                }
            }
        }
    }

    #[test]
    fn a_base_is_what_stands_before_the_path() {
        let claimed = |uri| Target::of_request(uri).unwrap();
        for base in [
            "https://h/api",
            "https://h/api/",
            "https://h:443/x/../api//",
        ] {
            let base = Target::base(base).unwrap();
            assert!(base.followed_by("/a", &claimed("https://h/api/a")));
            assert!(base.followed_by("/", &claimed("https://h/api/")));
            assert!(!base.followed_by("/a", &claimed("https://h/a")));
            assert!(!base.followed_by("/a", &claimed("https://h/apix/a")));
            assert!(!base.followed_by("/a", &claimed("https://g/api/a")));
            assert!(!base.followed_by("/", &claimed("https://h/api")));
        }
        let root = Target::base("https://h").unwrap();
        assert!(root.followed_by("/", &claimed("https://h")));
        for none in ["https://h/?q", "https://h#f", "h", "/api"] {
            assert_eq!(Target::base(none), None, "{none}");
        }
    }
}
