//! tonic: a [`Denial`] as a [`Status`], and the connection that tonic's transport tells of.
//!
//! A handler reads its caller from the request's extensions:
//!
//! ```
//! use tonic::{Request, Status};
//! use tower_api_key::Grant;
//! fn caller<T>(request: &Request<T>) -> Result<&Grant, Status> {
//!     request.extensions().get().ok_or_else(|| Status::internal("is `ApiKeyLayer` enabled?"))
//! }
//! # let _ = caller::<()>;
//! ```

use std::net::SocketAddr;

use http::Extensions;
use tonic::{Code, Status, metadata::MetadataValue, transport::server::TcpConnectInfo};

use crate::denial::Denial;

pub(crate) fn connect_info(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<TcpConnectInfo>()?.remote_addr()
}

impl From<Denial> for Status {
    /// The status that the layer itself would answer, with `error-code` and `retry-after` in the
    /// metadata.
    fn from(denial: Denial) -> Self {
        let code = Code::from_i32(denial.code().grpc_status().into());
        let mut status = Self::new(code, denial.detail());
        let metadata = status.metadata_mut();
        metadata.insert(
            "error-code",
            MetadataValue::from_static(denial.code().as_str()),
        );
        if let Some(seconds) = denial.retry_after_seconds() {
            metadata.insert("retry-after", seconds.into());
        }
        status
    }
}
