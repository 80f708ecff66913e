//! Perspective Broker, as far as a client needs it that logs in and calls one method.
//! Sources: `twisted/spread/pb.py` and `jelly.py`, `buildbot/clients/sendchange.py`.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use super::banana::Item;
use super::known::{Knowledge, Known};
use super::last_build::LastBuild;

/// How long the master may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Changes that are on their way before the first of them must be answered. All their answers fit
/// into the buffers of a connection, so that neither side waits for the other.
const WINDOW: usize = 64;

/// Builds that the master is asked about at once. What it says of them is short enough for one
/// answer.
const QUESTION: usize = 2_000;

/// What is said of an answer in another form.
const NOT_UNDERSTOOD: SubmitError = SubmitError::Protocol("what it knows is not understood");

/// A change, with the keys that `buildbot sendchange` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who makes it.
    pub who: String,
    /// What it is for: an application id.
    pub project: String,
    /// The repository it is in.
    pub repository: String,
    /// The branch it is on.
    pub branch: String,
    /// The commit, if it is known.
    pub revision: Option<String>,
    /// Which schedulers take it.
    pub category: String,
    /// The files it touches.
    pub files: Vec<String>,
    /// What its build shall know.
    pub properties: BTreeMap<String, String>,
}

/// Why nothing, or nothing more, was submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The master does not answer, or not as one.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It knows no such user or another password.
    #[error("the master refuses the user or the password")]
    Login,
    /// It says that it cannot take a change.
    #[error("the master refuses a change: {0}")]
    Change(String),
    /// It cannot say what it knows.
    #[error("the master does not say what it has built: {0}")]
    Question(String),
    /// It speaks another protocol.
    #[error("that is no port for `buildbot sendchange`: {0}")]
    Protocol(&'static str),
}

/// A connection that is logged in.
pub struct Connection {
    input: BufReader<Timed>,
    output: BufWriter<TcpStream>,
    /// The number of the remote object that takes changes.
    perspective: Item,
    requests: i64,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When nobody listens there, or not for this user, or no answer comes within half a minute.
    pub fn open(address: SocketAddr, user: &str, password: &str) -> Result<Self, SubmitError> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut this = Self {
            input: BufReader::new(Timed { stream: stream.try_clone()?, until: Instant::now() }),
            output: BufWriter::new(stream),
            perspective: Item::Int(0),
            requests: 0,
        };
        match this.read(Instant::now() + PATIENCE)? {
            Item::List(dialects) if dialects.contains(&"none".into()) => {}
            _ => return Err(SubmitError::Protocol("it offers no dialect that is known")),
        }
        this.send(&"none".into())?;
        this.send(&Item::list(["version".into(), 6.into()]))?;
        this.log_in(user, password)?;
        Ok(this)
    }

    fn log_in(&mut self, user: &str, password: &str) -> Result<(), SubmitError> {
        self.call("root".into(), "login", vec![user.into()])?;
        self.output.flush()?;
        let answer = self.answer()?.1.map_err(|_| SubmitError::Login)?;
        let (challenge, challenger) = match answer {
            Item::List(parts) => match <[Item; 3]>::try_from(parts) {
                Ok([_, Item::Bytes(challenge), remote]) => (challenge, remote),
                _ => return Err(SubmitError::Protocol("its challenge is none")),
            },
            _ => return Err(SubmitError::Protocol("its challenge is none")),
        };
        let hash = Md5::digest(password.as_bytes());
        let response = Md5::new().chain_update(hash).chain_update(challenge).finalize();
        let nobody = Item::list(["None".into()]);
        self.call(number(challenger)?, "respond", vec![Item::Bytes(response.to_vec()), nobody])?;
        self.output.flush()?;
        self.perspective = number(self.answer()?.1.map_err(|_| SubmitError::Login)?)?;
        Ok(())
    }

    /// What the master knows of these builds, which schedulers of `category` would start.
    ///
    /// # Errors
    /// When it does not answer, or has a runtime that knows no such question.
    pub fn known(&mut self, category: &str, builds: &[String]) -> Result<Knowledge, SubmitError> {
        let mut known = Knowledge::default();
        for builds in builds.chunks(QUESTION) {
            let more = self.some_known(category, builds)?;
            known.builds.extend(more.builds);
            known.paused = more.paused;
        }
        Ok(known)
    }

    fn some_known(&mut self, category: &str, builds: &[String]) -> Result<Knowledge, SubmitError> {
        let (rows, paused) = self.ask("known", category, builds)?;
        let builds = rows.iter().map(|row| Known::read(row)).collect::<Option<_>>();
        Ok(Knowledge { builds: builds.ok_or(NOT_UNDERSTOOD)?, paused })
    }

    /// What became of the newest requests for these builds, at most 2,000, and what keeps builders of
    /// schedulers of `category` from building.
    ///
    /// # Errors
    /// As of [`Self::known`].
    pub fn last_builds(
        &mut self,
        category: &str,
        builds: &[String],
    ) -> Result<(BTreeMap<String, LastBuild>, Vec<String>), SubmitError> {
        let (rows, problems) = self.ask("last_builds", category, builds)?;
        let builds = rows.iter().map(|row| serde_json::from_str::<LastBuild>(row).ok());
        let builds = builds.map(|found| found.map(|found| (found.build.clone(), found)));
        Ok((builds.collect::<Option<_>>().ok_or(NOT_UNDERSTOOD)?, problems))
    }

    /// What the master answers to a question on builds: two lists.
    fn ask(
        &mut self,
        question: &str,
        category: &str,
        builds: &[String],
    ) -> Result<(Vec<String>, Vec<String>), SubmitError> {
        let text = |text: &str| Item::list(["unicode".into(), text.into()]);
        let builds = std::iter::once("list".into()).chain(builds.iter().map(|build| text(build)));
        let arguments = vec![text(category), Item::list(builds)];
        self.call(self.perspective.clone(), question, arguments)?;
        self.output.flush()?;
        let answer = self.answer()?.1.map_err(SubmitError::Question)?;
        let texts = |item| list(item)?.into_iter().map(unicode).collect::<Option<Vec<_>>>();
        let understood = || {
            let [first, second] = <[Item; 2]>::try_from(list(answer)?).ok()?;
            Some((texts(first)?, texts(second)?))
        };
        understood().ok_or(NOT_UNDERSTOOD)
    }

    /// Submits changes, and tells `taken` of each one that the master has taken.
    ///
    /// # Errors
    /// When the master refuses one, or goes away. Those after it may have been taken too.
    pub fn submit<'c>(
        &mut self,
        changes: impl IntoIterator<Item = &'c Change>,
        taken: &mut dyn FnMut(&'c Change),
    ) -> Result<(), SubmitError> {
        let mut waiting = BTreeMap::new();
        for change in changes {
            if waiting.len() == WINDOW {
                self.take_answer(&mut waiting, taken)?;
            }
            self.call(self.perspective.clone(), "addChange", vec![jelly(change)])?;
            waiting.insert(self.requests, change);
        }
        while !waiting.is_empty() {
            self.take_answer(&mut waiting, taken)?;
        }
        Ok(())
    }

    /// Answers may come in another order: the master's database works on several at once.
    fn take_answer<'c>(
        &mut self,
        waiting: &mut BTreeMap<i64, &'c Change>,
        taken: &mut dyn FnMut(&'c Change),
    ) -> Result<(), SubmitError> {
        self.output.flush()?;
        let (request, answer) = self.answer()?;
        answer.map_err(SubmitError::Change)?;
        let change = waiting.remove(&request);
        taken(change.ok_or(SubmitError::Protocol("it answers what was not asked"))?);
        Ok(())
    }

    fn call(&mut self, object: Item, method: &str, arguments: Vec<Item>) -> io::Result<()> {
        self.requests += 1;
        let arguments = std::iter::once("tuple".into()).chain(arguments);
        self.send(&Item::list([
            "message".into(),
            self.requests.into(),
            object,
            method.into(),
            // An answer is wanted.
            1.into(),
            Item::list(arguments),
            Item::list(["dictionary".into()]),
        ]))
    }

    fn send(&mut self, item: &Item) -> io::Result<()> {
        item.write(&mut self.output)
    }

    fn read(&mut self, until: Instant) -> io::Result<Item> {
        self.output.flush()?;
        self.input.get_mut().until = until;
        Item::read(&mut self.input).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let seconds = PATIENCE.as_secs();
                let what = format!("the master gave no answer within {seconds} seconds");
                io::Error::new(io::ErrorKind::TimedOut, what)
            }
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), "the master closed the connection")
            }
            _ => error,
        })
    }

    /// The next answer and the number of its request; the inner error is the remote one, in its
    /// own words.
    fn answer(&mut self) -> Result<(i64, Result<Item, String>), SubmitError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Item::List(mut parts) = self.read(until)? else {
                return Err(SubmitError::Protocol("it says something that is no message"));
            };
            let kind = match parts.first() {
                Some(Item::Bytes(kind)) => kind.as_slice(),
                _ => return Err(SubmitError::Protocol("it says something that is no message")),
            };
            match (kind, parts.as_slice()) {
                (b"answer", [_, Item::Int(request), _]) => {
                    let request = *request;
                    return Ok((request, Ok(parts.swap_remove(2))));
                }
                (b"error", [_, Item::Int(request), error]) => {
                    return Ok((*request, Err(words(error))));
                }
                // Its version, and that it has forgotten an object.
                (b"version" | b"decref" | b"uncache", _) => {}
                _ => return Err(SubmitError::Protocol("it says something that was not asked")),
            }
        }
    }
}

/// A stream that ends at a time, whatever little it says until then.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

/// The number of a remote object.
fn number(item: Item) -> Result<Item, SubmitError> {
    match item {
        Item::List(parts) if parts.len() >= 2 && parts[0] == "remote".into() => {
            Ok(parts[1].clone())
        }
        _ => Err(SubmitError::Protocol("its answer is no object")),
    }
}

/// The items of a list in the terms of `twisted.spread.jelly`.
fn list(item: Item) -> Option<Vec<Item>> {
    match item {
        Item::List(mut parts) if parts.first() == Some(&"list".into()) => {
            parts.remove(0);
            Some(parts)
        }
        _ => None,
    }
}

/// A text in the same terms.
fn unicode(item: Item) -> Option<String> {
    let Item::List(parts) = item else { return None };
    match <[Item; 2]>::try_from(parts).ok()? {
        [kind, Item::Bytes(text)] if kind == "unicode".into() => String::from_utf8(text).ok(),
        _ => None,
    }
}

/// The change in the terms of `twisted.spread.jelly`.
fn jelly(change: &Change) -> Item {
    let text = |text: &str| Item::list(["unicode".into(), text.into()]);
    let none = || Item::list(["None".into()]);
    let pair = |key: &str, value: Item| Item::list([text(key), value]);
    let properties = change.properties.iter().map(|(name, value)| pair(name, text(value)));
    let files = change.files.iter().map(|file| text(file));
    Item::list([
        "dictionary".into(),
        pair("project", text(&change.project)),
        pair("repository", text(&change.repository)),
        pair("who", text(&change.who)),
        pair("files", Item::list(std::iter::once("list".into()).chain(files))),
        pair("comments", text("")),
        pair("branch", text(&change.branch)),
        pair("revision", change.revision.as_deref().map_or_else(none, text)),
        pair("category", text(&change.category)),
        pair("when", none()),
        pair("properties", Item::list(std::iter::once("dictionary".into()).chain(properties))),
        pair("revlink", text("")),
        pair("src", none()),
    ])
}

/// What a remote error says: the texts in it, the shortest useful part of them.
fn words(error: &Item) -> String {
    fn collect(item: &Item, texts: &mut Vec<String>) {
        match item {
            Item::Int(_) => {}
            Item::Bytes(bytes) => texts.push(String::from_utf8_lossy(bytes).into_owned()),
            Item::List(items) => items.iter().for_each(|item| collect(item, texts)),
        }
    }
    let mut texts = Vec::new();
    collect(error, &mut texts);
    // A failure is a dictionary; its `value` is the message, its `type` the class.
    let after = |key: &str| {
        let at = texts.iter().position(|text| text == key)?;
        texts[at + 1..].iter().find(|text| !matches!(text.as_str(), "unicode" | "string")).cloned()
    };
    let found = [after("type"), after("value")];
    let said: Vec<String> = found.into_iter().flatten().collect();
    let said = if said.is_empty() { texts.join(" ") } else { said.join(": ") };
    crate::text::shown(&said)
}
