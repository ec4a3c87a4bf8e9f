//! A user with a browser: keeps cookies, follows redirects, fills in forms.

use http::{Request, Response, header};
use oauth2::url::{Url, form_urlencoded};

use crate::http::send;

/// What a user answers when an app asks for access.
pub(crate) enum Answer<'a> {
    /// Yes, to these scopes.
    Allow(&'a [&'a str]),
    Refuse,
}

#[derive(Default)]
pub(crate) struct Browser {
    cookies: Vec<Cookie>,
}

struct Cookie {
    name: String,
    path: String,
    value: String,
}

/// A page with its form.
struct Page {
    title: String,
    /// Where the form goes.
    action: Url,
    /// The values its fields named `scope` can have.
    scopes: Vec<String>,
}

impl Browser {
    /// Goes to an issuer's authorization endpoint as Ada, and answers all it asks until it sends her
    /// back to the app: the URL she comes back to.
    pub(crate) async fn authorize(&mut self, endpoint: Url, answer: Answer<'_>) -> Url {
        let issuer = endpoint.origin();
        let mut next = Request::get(endpoint.as_str()).body(Vec::new());
        let mut here = endpoint;
        // A redirect, a page and its form, once to sign in and once to consent.
        for _ in 0..12 {
            let response = self.send(&here, next.expect("a request")).await;
            if let Some(location) = response.headers().get(header::LOCATION) {
                let location = location.to_str().expect("a URL");
                here = here.join(location).expect("a URL");
                if here.origin() != issuer {
                    return here;
                }
                next = Request::get(here.as_str()).body(Vec::new());
                continue;
            }
            let page = Page::read(&here, &response);
            let fields = page.fill_in(&answer);
            here = page.action;
            next = Request::post(here.as_str())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(fields.into_bytes());
        }
        panic!("the issuer never sent the user back: {here}");
    }

    async fn send(&mut self, url: &Url, mut request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        let sent = self
            .cookies
            .iter()
            .filter(|c| url.path().starts_with(&c.path));
        let sent: Vec<_> = sent.map(|c| format!("{}={}", c.name, c.value)).collect();
        if !sent.is_empty() {
            let cookies = sent.join("; ").parse().expect("a header");
            request.headers_mut().insert(header::COOKIE, cookies);
        }
        let Ok(response) = send(request).await;
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            self.keep(cookie.to_str().expect("ASCII"));
        }
        response
    }

    fn keep(&mut self, cookie: &str) {
        let mut parts = cookie.split("; ");
        let (name, value) = parts
            .next()
            .and_then(|p| p.split_once('='))
            .expect("a pair");
        let path = parts.find_map(|p| p.strip_prefix("path=")).unwrap_or("/");
        self.cookies
            .retain(|c| (c.name.as_str(), c.path.as_str()) != (name, path));
        // An empty one is how this issuer takes a cookie back.
        if !value.is_empty() {
            self.cookies.push(Cookie {
                name: name.to_owned(),
                path: path.to_owned(),
                value: value.to_owned(),
            });
        }
    }
}

impl Page {
    fn read(url: &Url, response: &Response<Vec<u8>>) -> Self {
        let body = str::from_utf8(response.body()).expect("UTF-8");
        let between = |from: &str, to: &str| {
            let rest = body
                .split_once(from)
                .and_then(|(_, rest)| rest.split_once(to));
            let found = rest.unwrap_or_else(|| panic!("no {from} at {url}: {response:?} {body}"));
            found.0.to_owned()
        };
        let scopes = body.split("name=\"scope\"").skip(1).map(|field| {
            let value = field
                .split_once("value=\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            value.expect("a value").0.to_owned()
        });
        Self {
            title: between("<title>", "</title>"),
            action: url.join(&between("action=\"", "\"")).expect("a URL"),
            scopes: scopes.collect(),
        }
    }

    fn fill_in(&self, answer: &Answer<'_>) -> String {
        let mut fields = form_urlencoded::Serializer::new(String::new());
        match (self.title.as_str(), answer) {
            ("login", _) => {
                fields.append_pair("name", "ada");
                fields.append_pair("password", "analytical");
            }
            ("consent", Answer::Refuse) => {
                fields.append_pair("answer", "refuse");
            }
            ("consent", Answer::Allow(scopes)) => {
                fields.append_pair("answer", "allow");
                let ticked = self.scopes.iter().filter(|s| scopes.contains(&s.as_str()));
                fields.extend_pairs(ticked.map(|scope| ("scope", scope)));
            }
            (other, _) => panic!("an unknown page: {other}"),
        }
        fields.finish()
    }
}
