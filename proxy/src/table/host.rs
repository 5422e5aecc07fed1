//! From the authority of a request to the virtual host that serves it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::demand::Used;
use crate::table::elsewhere::Elsewhere;
use crate::table::rules::Rules;

/// What a listener has for each host: a virtual host, or what answers to a name in TLS. Cheap to clone.
#[derive(Debug)]
pub struct HostTable<T = VirtualHost>(Arc<Names<T>>);

#[derive(Debug)]
struct Names<T> {
    /// Lower-case names and addresses.
    exact: FxHashMap<Arc<str>, Arc<T>>,
    /// `*.` wildcards by what follows the star, dot included.
    suffix: FxHashMap<Arc<str>, Arc<T>>,
    /// `*`.
    any: Option<Arc<T>>,
}

/// How a host was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// By its name.
    Name,
    /// By a wildcard, or among all others.
    Wildcard,
}

/// The rules for one host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Name for people: the host, or the resource that defined it.
    pub name: Arc<str>,
    /// Ports of the service, ascending; empty when the host is not in the registry and any port
    /// is taken as it comes.
    pub ports: Box<[u16]>,
    /// Rules in order.
    pub rules: Rules,
    /// Match blocks for the host that are for other callers, ascending by number.
    pub elsewhere: Box<[Elsewhere]>,
    /// Whether a request was for it by this name, lately.
    pub used: Used,
}

// === impl HostTable ===

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self(Arc::new(Names {
            exact: FxHashMap::default(),
            suffix: FxHashMap::default(),
            any: None,
        }))
    }
}

impl<T> Clone for HostTable<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> HostTable<T> {
    /// Adds a host: a name, an address, a `*.` wildcard or `*`. The first entry of a name stays, as
    /// the first of two conflicting resources wins. Returns whether the entry was taken.
    pub fn insert(&mut self, name: &str, host: &Arc<T>) -> bool {
        let names = Arc::make_mut(&mut self.0);
        let name = name.to_ascii_lowercase();
        if name == "*" {
            let free = names.any.is_none();
            names.any.get_or_insert_with(|| Arc::clone(host));
            return free;
        }
        let (map, key) = match name.strip_prefix('*') {
            Some(suffix) => (&mut names.suffix, Arc::from(suffix)),
            None => (&mut names.exact, Arc::from(name)),
        };
        let mut taken = false;
        map.entry(key).or_insert_with(|| {
            taken = true;
            Arc::clone(host)
        });
        taken
    }

    /// The virtual host for `host` (no port): exact name, then the longest wildcard, then `*`. A dot
    /// at the end, which DNS takes for the root, makes no difference.
    pub fn find(&self, host: &str) -> Option<&Arc<T>> {
        self.meet(host).map(|(found, _)| found)
    }

    /// The same, and how it was found.
    pub(crate) fn meet(&self, host: &str) -> Option<(&Arc<T>, By)> {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.meet_lower(&host.to_ascii_lowercase());
        }
        self.meet_lower(host)
    }

    fn meet_lower(&self, host: &str) -> Option<(&Arc<T>, By)> {
        let Names { exact, suffix, any } = &*self.0;
        if let Some(found) = exact.get(host) {
            return Some((found, By::Name));
        }
        if !suffix.is_empty() {
            // A wildcard stands for at least one character, so the search starts behind the first.
            for (at, _) in host.char_indices().skip(1).filter(|(_, c)| *c == '.') {
                if let Some(found) = suffix.get(&host[at..]) {
                    return Some((found, By::Wildcard));
                }
            }
        }
        any.as_ref().map(|found| (found, By::Wildcard))
    }

    /// Every host with its name as written, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Arc<T>)> {
        let Names { exact, suffix, any } = &*self.0;
        let exact = exact.iter().map(|(name, host)| (name.to_string(), host));
        let suffix = suffix.iter().map(|(name, host)| (format!("*{name}"), host));
        let any = any.iter().map(|host| ("*".to_owned(), host));
        exact.chain(suffix).chain(any)
    }

    /// Whether no host is served.
    pub fn is_empty(&self) -> bool {
        let Names { exact, suffix, any } = &*self.0;
        exact.is_empty() && suffix.is_empty() && any.is_none()
    }
}

// === impl Names ===

impl<T> Clone for Names<T> {
    fn clone(&self) -> Self {
        Self {
            exact: self.exact.clone(),
            suffix: self.suffix.clone(),
            any: self.any.clone(),
        }
    }
}

// === impl VirtualHost ===

impl VirtualHost {
    /// The port that a request without a port of its own addresses.
    pub fn default_port(&self) -> u16 {
        match *self.ports {
            [only] => only,
            _ => 80,
        }
    }
}

/// Splits an authority into host and port. IPv6 addresses lose their brackets; what follows the last
/// colon is the port if it is a number.
pub fn split_authority(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return (authority, None);
        };
        return (
            host,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    let Some(colon) = authority.bytes().rposition(|byte| byte == b':') else {
        return (authority, None);
    };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    // A port may be left out behind its colon (RFC 3986 §3.2.3).
    if port.is_empty() && !host.contains(':') {
        return (host, None);
    }
    match port.parse() {
        Ok(port) if !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Arc<VirtualHost> {
        Arc::new(VirtualHost {
            name: name.into(),
            ports: Box::default(),
            rules: Rules::default(),
            elsewhere: Box::default(),
            used: Used::default(),
        })
    }

    fn table(names: &[&str]) -> HostTable {
        let mut table = HostTable::default();
        for name in names {
            table.insert(name, &host(name));
        }
        table
    }

    #[test]
    fn the_most_specific_name_wins() {
        let table = table(&["*", "*.com", "*.example.com", "a.example.com"]);

        for (asked, expected) in [
            ("a.example.com", "a.example.com"),
            ("A.Example.COM", "a.example.com"),
            ("a.example.com.", "a.example.com"),
            ("b.example.com", "*.example.com"),
            ("x.b.example.com", "*.example.com"),
            ("example.com", "*.com"),
            ("org", "*"),
        ] {
            assert_eq!(&*table.find(asked).expect(asked).name, expected, "{asked}");
        }
    }

    #[test]
    fn the_first_of_two_equal_names_stays() {
        let mut table = HostTable::default();

        assert!(table.insert("a", &host("first")));
        assert!(!table.insert("a", &host("second")));

        assert_eq!(&*table.find("a").expect("served").name, "first");
    }

    #[test]
    fn authorities_split_into_host_and_port() {
        for (authority, expected) in [
            ("reviews", ("reviews", None)),
            ("reviews:9080", ("reviews", Some(9080))),
            ("[::1]:80", ("::1", Some(80))),
            ("[::1]", ("::1", None)),
            ("::1", ("::1", None)),
            ("a:b", ("a:b", None)),
            ("reviews:", ("reviews", None)),
            ("a:99999", ("a:99999", None)),
        ] {
            assert_eq!(split_authority(authority), expected, "{authority}");
        }
    }
}
