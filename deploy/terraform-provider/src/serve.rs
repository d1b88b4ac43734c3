//! The handshake of a Terraform plugin: a unix socket in a fresh folder that only this user can
//! enter, mutual TLS with exactly the certificate that Terraform gave, one line on standard output.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::plugin::Empty;
use crate::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use crate::provider::Provider;
use crate::tfplugin6::provider_server::ProviderServer;

/// Connections that wait.
const CONNECTIONS_MAX: usize = 16;
/// Largest message, bytes: a plan of a large rule.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Accepts one certificate and no other.
#[derive(Debug)]
struct Pinned {
    certificate: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.certificate {
            return Ok(ClientCertVerified::assertion());
        }
        Err(rustls::Error::General("not Terraform's certificate".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A connection of Terraform.
enum Connection {
    /// TF_DISABLE_PLUGIN_TLS.
    Plain(UnixStream),
    Tls(Box<TlsStream<UnixStream>>),
}

macro_rules! forward {
    ($self:ident, $connection:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($connection) => {
                let $connection = Pin::new($connection);
                $call
            }
            Self::Tls($connection) => {
                let $connection = Pin::new($connection);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        forward!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        forward!(self, inner => inner.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        forward!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        forward!(self, inner => inner.poll_shutdown(cx))
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Ends the process when Terraform says so.
struct Controller(Arc<Notify>);

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.notify_one();
        Ok(Response::new(Empty {}))
    }
}

/// TLS with a certificate of our own, which the handshake tells, for a client with exactly the
/// certificate that it told us.
fn tls(client_pem: &str) -> Result<(TlsAcceptor, String), Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = CertificateDer::from_pem_slice(client_pem.as_bytes())
        .map_err(|e| format!("PLUGIN_CLIENT_CERT is no PEM certificate: {e}"))?;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key)?;
    let told = STANDARD_NO_PAD.encode(certificate.der());
    let pinned = Pinned {
        certificate: client.to_vec(),
        provider: Arc::clone(&provider),
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(pinned))
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), told))
}

async fn accept(
    listener: UnixListener,
    acceptor: Option<TlsAcceptor>,
    connections: mpsc::Sender<std::io::Result<Connection>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let (acceptor, connections) = (acceptor.clone(), connections.clone());
        tokio::spawn(async move {
            let connection = match acceptor {
                None => Connection::Plain(stream),
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Connection::Tls(Box::new(stream)),
                    Err(_) => return,
                },
            };
            // Nobody takes it any more: the process ends.
            let _ended = connections.send(Ok(connection)).await;
        });
    }
}

/// Serves until Terraform ends it.
///
/// # Errors
/// Where the socket, the certificate or the server fails.
pub async fn serve(client_pem: Option<String>) -> Result<(), Failure> {
    // Made with rights for this user alone, and removed at the end.
    let dir = tempfile::Builder::new()
        .prefix("balefire-plugin-")
        .tempdir()?;
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket)?;
    let (acceptor, told) = match client_pem.filter(|pem| !pem.is_empty()) {
        Some(pem) => {
            let (acceptor, told) = tls(&pem)?;
            (Some(acceptor), told)
        }
        None => (None, String::new()),
    };
    let (sender, receiver) = mpsc::channel(CONNECTIONS_MAX);
    tokio::spawn(accept(listener, acceptor, sender));
    let mut out = std::io::stdout();
    writeln!(out, "1|6|unix|{}|grpc|{told}", socket.display())?;
    out.flush()?;
    let stop = Arc::new(Notify::new());
    let ended = Arc::clone(&stop);
    let provider = ProviderServer::new(Provider::default())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        .add_service(provider)
        .add_service(GrpcControllerServer::new(Controller(stop)))
        .serve_with_incoming_shutdown(ReceiverStream::new(receiver), async move {
            ended.notified().await;
        })
        .await?;
    Ok(())
}
