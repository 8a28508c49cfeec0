use std::{fmt, net::IpAddr, str::FromStr};

/// Addresses and networks, such as `192.0.2.7, 10.0.0.0/8, fd00::/8`. None is written as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// How many of its leading bits an address has to share.
    bits: u32,
}

/// What is no address and no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is no address and no network: write 192.0.2.7 or 10.0.0.0/8, several by commas", self.0)
    }
}

impl std::error::Error for NotANetwork {}

impl Networks {
    /// Whether one of them has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address.to_canonical()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Networks {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks = parts.map(|part| network(part).ok_or_else(|| NotANetwork(part.to_owned())));
        Ok(Self { networks: networks.collect::<Result<_, _>>()? })
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(bits_max), |bits| bits.parse().ok().filter(|bits| *bits <= bits_max))?;
    Some(Network { address, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_whose_leading_bits_it_shares() {
        for (networks, address, is_in) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("10.0.0.0/8, 192.0.2.0/31", "10.255.0.1", true),
            ("10.0.0.0/8, 192.0.2.0/31", "192.0.2.1", true),
            ("10.0.0.0/8, 192.0.2.0/31", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::/0", "fe00::1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("", "10.0.0.1", false),
        ] {
            let networks: Networks = networks.parse().expect("networks");
            assert_eq!(networks.contains(address.parse().expect("an address")), is_in, "{networks:?} and {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["proxy.example", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "fd00::/129", "10.0.0.1:80", "1,x"] {
            assert!(text.parse::<Networks>().is_err(), "{text}");
        }
    }
}
