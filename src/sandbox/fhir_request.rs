//! A request to the FHIR side, as its handlers see it.

use std::borrow::Cow;

use super::{
    faults::FhirFaults,
    http1::ReceivedBody,
    multipart,
    personality::Personality,
    php_variables::{Variable, Variables},
    request_head::RequestHead,
    rewrite::Rewritten,
};

/// The variable in which OpenEMR looks for the route.
const ROUTE: &str = "_REWRITE_COMMAND";

/// A request for a path below `/apis/`.
pub(super) struct FhirRequest<'a> {
    /// The head.
    pub(super) head: &'a RequestHead,
    /// The body, read to its end.
    pub(super) body: &'a ReceivedBody,
    /// The method that OpenEMR goes by.
    pub(super) method: Cow<'a, str>,
    /// The route that OpenEMR goes by, as in `default/fhir/Patient`.
    pub(super) route: Route,
    /// Whether that is another one than the path names.
    pub(super) rerouted: bool,
    /// The faults that apply to it.
    pub(super) faults: &'a FhirFaults,
    query: Variables,
    form: Variables,
}

/// What names the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A text.
    Named(String),
    /// Nothing: the variable is missing.
    Missing,
    /// The variable is an array.
    Array,
}

impl<'a> FhirRequest<'a> {
    /// Reads a request as PHP and OpenEMR do.
    pub(super) fn new(
        personality: Personality,
        head: &'a RequestHead,
        body: &'a ReceivedBody,
        rewritten: &Rewritten,
        faults: &'a FhirFaults,
    ) -> FhirRequest<'a> {
        let query = Variables::from_query(&rewritten.query);
        let form = form(head, body);
        let named_by = match personality {
            Personality::V8_0 | Personality::Next => query.get(ROUTE),
            // `$_REQUEST`, in which the form comes last.
            Personality::V7_0_3 => form.get(ROUTE).or_else(|| query.get(ROUTE)),
        };
        let route = match named_by {
            Some(Variable::Text(text)) => Route::Named(String::from_utf8_lossy(text).into_owned()),
            Some(Variable::Array) => Route::Array,
            None => Route::Missing,
        };
        let rerouted = named_by != Some(&Variable::Text(rewritten.path.clone()));
        FhirRequest { method: method(personality, head), head, body, route, rerouted, faults, query, form }
    }

    /// Returns the site and what follows it in the route.
    pub(super) fn site_and_rest(&self) -> (&str, &str) {
        match &self.route {
            Route::Named(route) => route.split_once('/').unwrap_or((route, "")),
            Route::Missing | Route::Array => ("", ""),
        }
    }

    /// Returns the parameters of a search. An array is ignored, and so is a name in both query and form.
    pub(super) fn search_parameters(&self) -> Vec<(String, String)> {
        let query = self.query.iter().filter(|(name, _)| *name != ROUTE.as_bytes() && self.form.is_without(name));
        let form = self.form.iter().filter(|(name, _)| self.query.is_without(name));
        let text = |(name, value): (&[u8], &Variable)| match value {
            Variable::Text(value) => {
                Some((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
            }
            Variable::Array => None,
        };
        query.chain(form).filter_map(text).collect()
    }

    /// Returns the value that the query has for `name`.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query.text(name).map(Cow::into_owned)
    }
}

/// Returns the variables of the form in a POST request; PHP reads none in a request of another method.
fn form(head: &RequestHead, body: &ReceivedBody) -> Variables {
    let content_type = head.field("content-type").unwrap_or_default();
    let essence = content_type.split([';', ',', ' ']).next().unwrap_or_default().to_ascii_lowercase();
    match (head.method.as_str(), essence.as_str()) {
        ("POST", "application/x-www-form-urlencoded") => Variables::from_form(&body.kept),
        ("POST", "multipart/form-data") => match multipart::boundary(content_type) {
            Some(boundary) => Variables::from_fields(multipart::fields(&body.kept, boundary).into_iter()),
            None => Variables::default(),
        },
        _ => Variables::default(),
    }
}

/// Returns the method that OpenEMR goes by: 8.0 asks Symfony, which believes `X-HTTP-Method-Override` of a POST.
fn method(personality: Personality, head: &RequestHead) -> Cow<'_, str> {
    match head.field("x-http-method-override") {
        Some(other) if personality != Personality::V7_0_3 && head.method == "POST" => Cow::Owned(other.to_ascii_uppercase()),
        _ => Cow::Borrowed(&head.method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        personality: Personality,
        method: &str,
        content_type: &str,
        body: &str,
        query: &str,
    ) -> (Route, Vec<(String, String)>) {
        let fields = vec![("Content-Type".to_owned(), content_type.to_owned())];
        let head = RequestHead { method: method.to_owned(), target: "/apis/default/fhir/x".to_owned(), minor_version: 1, fields };
        let body = ReceivedBody { kept: body.as_bytes().to_vec(), length: body.len() as u64, ..ReceivedBody::default() };
        let path = "default/fhir/x";
        let query = format!("_REWRITE_COMMAND={path}&{query}").into_bytes();
        let faults = FhirFaults::default();
        let request = FhirRequest::new(personality, &head, &body, &Rewritten { path: path.as_bytes().to_vec(), query }, &faults);
        assert_eq!(request.rerouted, request.route != Route::Named(path.to_owned()));
        (request.route.clone(), request.search_parameters())
    }

    #[test]
    fn the_last_name_of_the_route_counts_on_7_0_3_that_of_a_form_too() {
        const FORM: &str = "application/x-www-form-urlencoded";
        let (path, other) = (Route::Named("default/fhir/x".to_owned()), Route::Named("y".to_owned()));
        for (method, content_type, body, query, on_8_0, on_7_0_3) in [
            ("GET", "", "", "", &path, &path),
            ("GET", "", "", "_REWRITE_COMMAND=y", &other, &other),
            ("GET", "", "", "%20_REWRITE.COMMAND=y", &other, &other),
            ("GET", "", "", "_REWRITE%5BCOMMAND%00x=y", &other, &other),
            ("GET", "", "", "_rewrite_command=y", &path, &path),
            ("GET", "", "", "_REWRITE_COMMAND[]=y", &Route::Array, &Route::Array),
            ("POST", FORM, "_REWRITE_COMMAND=y", "", &path, &other),
            ("POST", "Application/x-www-form-urlencoded, x", "_REWRITE COMMAND=y", "", &path, &other),
            ("PUT", FORM, "_REWRITE_COMMAND=y", "", &path, &path),
            ("POST", "application/json", "_REWRITE_COMMAND=y", "", &path, &path),
            (
                "POST",
                "multipart/form-data; boundary=B",
                "--B\r\nContent-Disposition: form-data; name=\"_REWRITE.COMMAND\"\r\n\r\ny\r\n--B--",
                "",
                &path,
                &other,
            ),
        ] {
            assert_eq!(&read(Personality::V8_0, method, content_type, body, query).0, on_8_0, "8.0 {method} {body} {query}");
            assert_eq!(
                &read(Personality::V7_0_3, method, content_type, body, query).0,
                on_7_0_3,
                "7.0.3 {method} {body} {query}"
            );
        }
    }

    #[test]
    fn a_search_takes_the_last_of_equal_names_and_none_that_stands_in_query_and_form() {
        let parameters = |form: &str, query: &str| {
            let read = read(Personality::V8_0, "POST", "application/x-www-form-urlencoded", form, query).1;
            read.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(parameters("", "a=1&a=2&b.c=3"), "a=2&b_c=3");
        assert_eq!(parameters("a=3", "a=1&b=2"), "b=2");
        assert_eq!(parameters("a=3&c=4", "b=2"), "b=2&a=3&c=4");
        assert_eq!(parameters("", "a[]=1&a[]=2&b=3"), "b=3");
        assert_eq!(parameters("a[]=1", "a=2"), "");
    }
}
