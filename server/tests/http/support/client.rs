//! A client that does what it is told: no redirects, no cookies of its own.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, client::IntoClientRequest as _},
};

#[derive(Clone)]
pub struct Client {
    port: u16,
    headers: HeaderMap,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The stable code of an error; every error has the one shape.
    #[track_caller]
    pub fn code(&self) -> String {
        let body = self.json();
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        let fits = text(&body["error"])
            && text(&body["details"]["name"])
            && text(&body["details"]["message"])
            && body["details"]["nextSteps"].is_array()
            && (cfg!(debug_assertions) || body["details"].get("stack").is_none())
            && body["timestamp"].as_str().is_some_and(|at| at.ends_with('Z'));
        assert!(fits, "not the one shape of errors ({}): {}", self.status, self.text());
        body["details"]["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub type Socket = WebSocketStream<TcpStream>;

/// One frame of bytes.
pub async fn say(socket: &mut Socket, text: &str) {
    let message = tungstenite::Message::Binary(Bytes::copy_from_slice(text.as_bytes()));
    futures::SinkExt::send(socket, message).await.unwrap();
}

/// The next frame of bytes, or the code that it closes with.
pub async fn hear(socket: &mut Socket) -> Result<String, u16> {
    use futures::StreamExt as _;
    loop {
        let next = tokio::time::timeout(std::time::Duration::from_secs(15), socket.next()).await.expect("a frame in time");
        match next {
            Some(Ok(tungstenite::Message::Binary(frame))) => return Ok(String::from_utf8_lossy(&frame).into_owned()),
            Some(Ok(tungstenite::Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(1006),
        }
    }
}

impl Client {
    pub fn new(port: u16) -> Self {
        Self { port, headers: HeaderMap::new() }.with("host", &format!("localhost:{port}"))
    }

    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        Self { port: self.port, headers }
    }

    /// To another port of this machine, by its address.
    pub fn at(&self, port: u16) -> Self {
        Self { port, ..self.with("host", &format!("127.0.0.1:{port}")) }
    }

    pub fn without(&self, name: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.remove(name);
        Self { port: self.port, headers }
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The answer's head; its body comes as it is read.
    pub async fn open(&self, method: Method, path: &str, body: Option<Bytes>) -> Response<Incoming> {
        self.try_open(method, path, body).await.unwrap()
    }

    pub async fn try_open(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Response<Incoming>, hyper::Error> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body.unwrap_or_default())).unwrap();
        *request.headers_mut() = self.headers.clone();
        sender.send_request(request).await
    }

    /// Sends a piece again and again, and never says how long all of it will be.
    pub async fn pour(&self, method: Method, path: &str, piece: Bytes, pieces: usize) -> Response<Incoming> {
        let frames = std::iter::repeat_n(piece, pieces).map(|piece| Ok(Frame::data(piece)));
        self.stream(method, path, futures::stream::iter(frames)).await
    }

    /// Sends what comes as it comes. The answer's head may be there before the end of it.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        frames: impl futures::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static,
    ) -> Response<Incoming> {
        let body = StreamBody::new(frames);
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        *request.headers_mut() = self.headers.clone();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Bytes>) -> Answer {
        let answer = self.open(method, path, body).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.with("content-type", "application/json").ask(method, path, Some(body.to_string().into())).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    /// A WebSocket, or the status that refused it.
    pub async fn socket(&self, path: &str, protocols: &str) -> Result<Socket, StatusCode> {
        let host = self.headers.get("host").unwrap().to_str().unwrap();
        let mut request = format!("ws://{host}{path}").into_client_request().unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        if !protocols.is_empty() {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(answer)) => Err(answer.status()),
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }
}
