//! What the host's framework tells about a request, through its extensions.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, Uri};

/// The address of the connection's other end, for hosts whose framework does not tell it. Who asks
/// through a proxy is found with [`TrustedProxies`](crate::TrustedProxies).
///
/// Insert it into the request's extensions before the layer runs. With the feature `axum`,
/// `ConnectInfo<SocketAddr>` is read too, with the feature `tonic` its connection information. A
/// key with allowed addresses is refused where no address is known.
///
/// ```
/// use std::net::SocketAddr;
/// use tower_api_key::PeerAddress;
/// let peer: SocketAddr = "192.0.2.1:50000".parse()?;
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(PeerAddress::from(peer));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(IpAddr);

impl PeerAddress {
    /// The address: one of IPv4 that was written as one of IPv6 (`::ffff:192.0.2.1`) is as it was
    /// before.
    pub const fn address(&self) -> IpAddr {
        self.0
    }
}

impl From<IpAddr> for PeerAddress {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

/// Its port does not count.
impl From<SocketAddr> for PeerAddress {
    fn from(peer: SocketAddr) -> Self {
        peer.ip().into()
    }
}

/// The connection's other end.
pub(crate) fn peer_address(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<PeerAddress>().copied();
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| crate::axum::connect_info(extensions).map(PeerAddress::from));
    #[cfg(feature = "tonic")]
    let peer = peer.or_else(|| crate::tonic::connect_info(extensions).map(PeerAddress::from));
    peer.map(|peer| peer.address())
}

/// The pattern by which a router has matched the request.
#[cfg_attr(
    not(feature = "axum"),
    expect(unused_variables, reason = "only axum tells")
)]
pub(crate) fn matched_path(extensions: &Extensions) -> Option<&str> {
    #[cfg(feature = "axum")]
    return crate::axum::matched_path(extensions);
    #[cfg(not(feature = "axum"))]
    None
}

/// The URI by which to judge a request, and whether its path was rewritten behind a router.
///
/// It is the one the client sent where nested routers have cut off what they matched. Wherever
/// anything else has changed the path, the handler is found by the new one, and so is the rule.
pub(crate) fn asked_uri<'r>(uri: &'r Uri, extensions: &'r Extensions) -> (&'r Uri, bool) {
    match original_uri(extensions) {
        Some(original) if is_cut_off(original.path(), uri.path(), extensions) => (original, false),
        Some(_) => (uri, true),
        None => (uri, false),
    }
}

/// Whether `path` is what nested routers have left of `original`: they tell what they cut off.
fn is_cut_off(original: &str, path: &str, extensions: &Extensions) -> bool {
    if original == path {
        return true;
    }
    let Some(nested) = nested_path(extensions) else {
        return false;
    };
    let mut slashes = original.match_indices('/').map(|(at, _)| at);
    let at = slashes
        .nth(nested.matches('/').count())
        .unwrap_or(original.len());
    match &original[at..] {
        "" => path == "/",
        rest => rest == path,
    }
}

/// The pattern under which a router is nested, those of the routers around it included.
#[cfg_attr(
    not(feature = "axum"),
    expect(unused_variables, reason = "only axum tells")
)]
fn nested_path(extensions: &Extensions) -> Option<&str> {
    #[cfg(feature = "axum")]
    return crate::axum::nested_path(extensions);
    #[cfg(not(feature = "axum"))]
    None
}

/// The URI as it came in to the outermost router.
#[cfg_attr(
    not(feature = "axum"),
    expect(unused_variables, reason = "only axum tells")
)]
pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    #[cfg(feature = "axum")]
    return crate::axum::original_uri(extensions);
    #[cfg(not(feature = "axum"))]
    None
}

/// Puts `uri` where a handler would read the original one.
#[cfg_attr(
    not(feature = "axum"),
    expect(unused_variables, reason = "only axum keeps one")
)]
pub(crate) fn replace_original_uri(extensions: &mut Extensions, uri: Uri) {
    #[cfg(feature = "axum")]
    crate::axum::replace_original_uri(extensions, uri);
}
