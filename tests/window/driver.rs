//! A window under WebDriver.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource as _, KeyAction, KeyActions},
    error::{CmdError, ErrorStatus},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use troupe_tests::{PATIENCE, Scratch, program};

/// The selector of a test id.
pub(crate) fn by(id: &str) -> String {
    format!("[data-testid={id}]")
}

/// The driver's process; ended politely, since a killed one leaves the browser's driver behind on
/// its port.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let terminate = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        if terminate.is_err() {
            drop(self.0.kill());
        }
        drop(self.0.wait());
    }
}

/// Lets WebKit compose layers even without a GPU: without layers it never answers a request for a
/// screenshot.
const COMPOSED: (&str, &str) = ("WEBKIT_DISABLE_COMPOSITING_MODE", "0");

/// An open window.
pub(crate) struct Window {
    client: Client,
    _driver: Driver,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn target_dir() -> PathBuf {
    program().parent().unwrap().parent().unwrap().to_path_buf()
}

/// The program that is driven.
pub(crate) fn studio() -> PathBuf {
    std::env::var_os("TROUPE_STUDIO")
        .map_or_else(|| program().with_file_name("troupe-studio"), PathBuf::from)
}

fn is_stale(error: &CmdError) -> bool {
    matches!(error, CmdError::Standard(e) if e.error == ErrorStatus::StaleElementReference)
}

impl Window {
    /// Opens the application on a scratch data folder.
    pub(crate) async fn open(scratch: &Scratch, model_dir: &Path) -> Self {
        Self::open_with(scratch, model_dir, &[COMPOSED]).await
    }

    /// Opens the application with an answer for its file dialogs: paths, one a line.
    pub(crate) async fn open_answering(scratch: &Scratch, model_dir: &Path, answer: &str) -> Self {
        let answer = ("TROUPE_TEST_DIALOG", answer);
        Self::open_with(scratch, model_dir, &[COMPOSED, answer]).await
    }

    /// Opens the application with variables of its environment; without [`COMPOSED`] it paints as it
    /// would for a person, and no screenshots can be taken where there is no GPU.
    pub(crate) async fn open_with(
        scratch: &Scratch,
        model_dir: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let (port, native_port) = (free_port(), free_port());
        let mut command = Command::new("tauri-driver");
        command.args(["--port", &port.to_string(), "--native-port", &native_port.to_string()]);
        command.env("TROUPE_HOME", scratch.home()).env("TROUPE_MODEL", model_dir);
        command.env("TROUPE_WORKER", program());
        command.env("DBUS_SESSION_BUS_ADDRESS", "disabled:"); // no file manager of the person's opens
        command.envs(variables.iter().copied());
        let driver = Driver(command.spawn().expect("tauri-driver is not installed"));
        let started = Instant::now();
        for port in [native_port, port] {
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(started.elapsed() < PATIENCE, "nothing listens on port {port}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let capabilities = json!({
            "browserName": "wry",
            "tauri:options": {"application": studio()},
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        client.set_window_size(1280, 800).await.unwrap();
        Self { client, _driver: driver }
    }

    /// Waits for an element.
    pub(crate) async fn find(&self, selector: &str) -> fantoccini::elements::Element {
        let wait = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(50));
        match wait.for_element(Locator::Css(selector)).await {
            Ok(element) => element,
            Err(error) => {
                self.shot("failure").await;
                panic!("{selector} did not appear: {error}")
            }
        }
    }

    /// Clicks an element once it is there and enabled. One that is replaced between being found and
    /// being clicked is looked for again.
    pub(crate) async fn click(&self, selector: &str) {
        let (selector, started) = (format!("{selector}:not(:disabled)"), Instant::now());
        loop {
            match self.find(&selector).await.click().await {
                Ok(()) => return,
                Err(error) if is_stale(&error) && started.elapsed() < PATIENCE => {}
                Err(error) => panic!("{selector} could not be clicked: {error}"),
            }
        }
    }

    /// Chooses a character in the list of characters.
    pub(crate) async fn choose(&self, id: &str) {
        self.click(&by("nav-characters")).await;
        self.click(&format!("{}[data-id='{id}']", by("character-item"))).await;
    }

    /// Says something to a character in a new chat, and waits for its answer and picture.
    pub(crate) async fn chat(&self, id: &str, text: &str) {
        self.choose(id).await;
        self.click(&by("nav-chat")).await;
        self.write(&by("chat-input"), text).await;
        self.click(&by("chat-send")).await;
        self.find(&by("message-picture")).await;
        self.find(&by("chat-send")).await;
    }

    /// Replaces the text of a field.
    pub(crate) async fn write(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses a key where the focus is.
    pub(crate) async fn press_key(&self, key: &str) {
        self.client.active_element().await.unwrap().send_keys(key).await.unwrap();
    }

    /// Text of an element.
    pub(crate) async fn text(&self, selector: &str) -> String {
        self.find(selector).await.text().await.unwrap()
    }

    /// Waits until the text of an element is accepted.
    pub(crate) async fn until(&self, selector: &str, what: &str, accept: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            // An element may be replaced between being found and being read.
            let text = self.find(selector).await.text().await;
            if text.as_ref().is_ok_and(|text| accept(text)) {
                return;
            }
            if started.elapsed() > PATIENCE {
                self.shot("failure").await;
                panic!("{selector} says {text:?}, not {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the text of an element is `wanted`.
    pub(crate) async fn until_text(&self, selector: &str, wanted: &str) {
        self.until(selector, &format!("{wanted:?}"), |text| text.trim() == wanted.trim()).await;
    }

    /// Waits until the text of an element has `part` in it, or no longer has it.
    pub(crate) async fn until_text_has(&self, selector: &str, part: &str, is_there: bool) {
        let what = format!("a text in which {part:?} is there: {is_there}");
        self.until(selector, &what, |text| text.contains(part) == is_there).await;
    }

    /// Waits until what is written in a field is `wanted`.
    pub(crate) async fn until_value(&self, selector: &str, wanted: &str) {
        let script = "arguments[1](document.querySelector(arguments[0])?.value ?? null)";
        let started = Instant::now();
        loop {
            let found = self.ask_later_with(script, vec![json!(selector)]).await;
            if found == wanted {
                return;
            }
            if started.elapsed() > PATIENCE {
                self.shot("failure").await;
                panic!("{selector} holds {found}, not {wanted:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until an element is no longer there.
    pub(crate) async fn until_gone(&self, selector: &str) {
        let started = Instant::now();
        while self.count(selector).await > 0 {
            if started.elapsed() > PATIENCE {
                self.shot("failure").await;
                panic!("{selector} is still there");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Number of elements.
    pub(crate) async fn count(&self, selector: &str) -> usize {
        self.client.find_all(Locator::Css(selector)).await.unwrap().len()
    }

    /// An attribute of an element.
    pub(crate) async fn attribute(&self, selector: &str, name: &str) -> String {
        self.find(selector).await.attr(name).await.unwrap().unwrap_or_default()
    }

    /// Presses keys together, wherever the focus is.
    pub(crate) async fn press(&self, keys: &[char]) {
        let down = keys.iter().map(|&value| KeyAction::Down { value });
        let up = keys.iter().rev().map(|&value| KeyAction::Up { value });
        let actions = down.chain(up).fold(KeyActions::new("keys".into()), |all, one| all.then(one));
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Types a text, wherever the focus is.
    pub(crate) async fn type_text(&self, text: &str) {
        for letter in text.chars() {
            self.press(&[letter]).await;
        }
    }

    /// What a script answers.
    pub(crate) async fn ask(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What a script answers by calling its last argument.
    pub(crate) async fn ask_later(&self, script: &str) -> Value {
        self.ask_later_with(script, Vec::new()).await
    }

    /// The same for a script with arguments.
    pub(crate) async fn ask_later_with(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute_async(script, arguments).await.unwrap()
    }

    /// Left and right edges of the text of `message`, and of `picture`.
    pub(crate) async fn places(&self, message: &str, picture: &str) -> ((f64, f64), (f64, f64)) {
        let mut edges = Vec::new();
        for selector in [format!("{message} {}", by("message-text")), picture.to_owned()] {
            let (x, _, width, _) = self.find(&selector).await.rectangle().await.unwrap();
            edges.push((x, x + width));
        }
        (edges[0], edges[1])
    }

    /// Whether a picture has arrived and could be decoded.
    pub(crate) async fn is_loaded(&self, picture: &str) -> bool {
        self.find(picture).await;
        let script = "const done = arguments[1]; const look = () => {
            const shown = document.querySelector(arguments[0]);
            if (shown.complete) done(shown.naturalWidth > 0); else setTimeout(look, 20);
        }; look();";
        self.client.execute_async(script, vec![json!(picture)]).await.unwrap() == json!(true)
    }

    /// Brings an element to the top of what is seen, and waits until it is drawn there.
    pub(crate) async fn scroll_to(&self, selector: &str) {
        self.find(selector).await;
        let script = "document.querySelector(arguments[0]).scrollIntoView({block: 'start'});
            requestAnimationFrame(() => requestAnimationFrame(arguments[1]));";
        self.client.execute_async(script, vec![json!(selector)]).await.unwrap();
    }

    /// Saves a screenshot to `target/window/`.
    pub(crate) async fn shot(&self, name: &str) {
        let folder = target_dir().join("window");
        std::fs::create_dir_all(&folder).unwrap();
        let png = tokio::time::timeout(PATIENCE, self.client.screenshot()).await;
        let png = png.expect("no screenshot can be taken").unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// Sets the size of the window.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.unwrap();
        let script = "const [width, done] = arguments; const look = () =>
            innerWidth === width ? requestAnimationFrame(() => requestAnimationFrame(() => done()))
            : setTimeout(look, 20); look();";
        self.ask_later_with(script, vec![json!(width)]).await;
    }

    /// Closes the window and its driver.
    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
    }
}
