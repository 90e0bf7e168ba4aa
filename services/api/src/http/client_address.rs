//! The address that a request came from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use devart_kit::endpoint::is_probe;

use crate::error::ApiResult;
use crate::state::AppState;

/// Left in each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// Middleware: counts each request but probes against its address and remembers the address.
///
/// # Errors
/// 429 when there were too many.
pub async fn limit_addresses(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> ApiResult<Response> {
    let address = address_of(&request, state.trust_forwarded_for);
    if !is_probe(request.uri().path()) {
        state.limits.count_address(address)?;
    }
    request.extensions_mut().insert(ClientAddress(address));
    Ok(next.run(request).await)
}

fn address_of(request: &Request, trust_forwarded_for: bool) -> IpAddr {
    let forwarded = trust_forwarded_for.then(|| forwarded_for(request.headers()));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = forwarded.flatten().or(peer.map(|peer| peer.0.ip()));
    address.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// The last entry is the one our own proxy wrote; those before it are the caller's claims.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_last_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        headers.append(
            "x-forwarded-for",
            HeaderValue::from_static("6.6.6.6, 192.0.2.7"),
        );
        assert_eq!(forwarded_for(&headers), Some(IpAddr::from([192, 0, 2, 7])));
    }
}
