//! The addresses of brokers: the one place where lists are split, and a host is told from its port.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A broker's address as it was written: `host:port`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Broker(String);

impl Broker {
    /// From an address, which is not checked: see [`Self::is_complete`].
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host name, or the IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.parts().0
    }

    /// Whether this is a host name and a port, or an IPv6 address in brackets and a port.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let (host, port) = self.parts();
        let is_port = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        let is_host = if self.0.starts_with('[') {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        } else {
            !host.is_empty() && !host.contains([':', '/', ',', '\0']) && !host.contains(char::is_whitespace)
        };
        is_port && is_host
    }

    /// The host and the port; the port is empty when there is none.
    fn parts(&self) -> (&str, &str) {
        match self.0.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or_default()),
            None => self.0.rsplit_once(':').unwrap_or((&self.0, "")),
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The brokers that a client asks first for the others of their cluster: a comma-separated list.
/// Spaces around an entry do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootstrapServers(Vec<Broker>);

impl BootstrapServers {
    /// From a list that is written exactly as it should be: complete addresses, and no spaces.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        Some(Self::from(list)).filter(|servers| servers.are_complete() && servers.to_string() == list)
    }

    /// Whether there are brokers, and each has a complete address.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(Broker::is_complete)
    }

    /// The brokers, without empty entries.
    pub fn iter(&self) -> impl Iterator<Item = &Broker> {
        self.0.iter().filter(|broker| !broker.0.is_empty())
    }
}

impl From<&str> for BootstrapServers {
    fn from(list: &str) -> Self {
        Self(list.split(',').map(|broker| Broker::new(broker.trim())).collect())
    }
}

impl From<String> for BootstrapServers {
    fn from(list: String) -> Self {
        Self::from(list.as_str())
    }
}

impl fmt::Display for BootstrapServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, broker) in self.0.iter().enumerate() {
            write!(f, "{}{broker}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::name("kafka.shop:9092", "kafka.shop", true)]
    #[case::address("127.0.0.1:1", "127.0.0.1", true)]
    #[case::ipv6("[2001:db8::1]:9092", "2001:db8::1", true)]
    #[case::ipv6_without_brackets("2001:db8::1:9092", "2001:db8::1", false)]
    #[case::ipv6_without_a_port("[::1]", "::1", false)]
    #[case::brackets_around_a_name("[kafka]:9092", "kafka", false)]
    #[case::something_after_the_brackets("[::1]x:9092", "::1", false)]
    #[case::without_a_port("kafka", "kafka", false)]
    #[case::with_an_empty_port("kafka:", "kafka", false)]
    #[case::with_a_long_port("kafka:123456", "kafka", false)]
    #[case::with_a_protocol("ssl://kafka:9092", "ssl://kafka", false)]
    #[case::without_a_host(":9092", "", false)]
    #[case::with_a_nul("a\0b:1", "a\0b", false)]
    #[case::empty("", "", false)]
    fn an_address_has_a_host_and_a_port(#[case] address: &str, #[case] host: &str, #[case] is_complete: bool) {
        let broker = Broker::new(address);
        assert_eq!((broker.host(), broker.is_complete()), (host, is_complete));
    }

    #[test]
    fn a_list_is_split_once_and_written_without_spaces() {
        let servers = BootstrapServers::from(" a:1 , [::1]:2");
        assert_eq!(servers.iter().map(Broker::host).collect::<Vec<_>>(), ["a", "::1"]);
        assert_eq!(servers.to_string(), "a:1,[::1]:2");
        assert!(servers.are_complete());
        assert!(BootstrapServers::parse("a:1,[::1]:2").is_some());
        for wrong in ["", ",", "a:1,", "a:1, b:2", "a:1,,b:2", "a"] {
            assert!(BootstrapServers::parse(wrong).is_none(), "{wrong:?}");
        }
        for without in ["", " ", " , "] {
            assert_eq!(BootstrapServers::from(without).iter().count(), 0);
        }
    }
}
