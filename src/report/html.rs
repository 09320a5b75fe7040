//! HTML text whose values are escaped by construction: there is no way from a `String` to an
//! [`Html`] but [`html!`](crate::html) and [`put!`](crate::put), which escape it.

use super::escape::{is_hidden, visible};
use serde::Serialize;
use std::fmt::{self, Display, Write};

/// A piece of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// A literal of the program, taken as HTML.
    #[must_use]
    pub fn literal(html: &'static str) -> Self {
        Self(html.to_owned())
    }

    /// Adds a literal of the program, taken as HTML.
    pub fn raw(&mut self, html: &'static str) {
        self.0.push_str(html);
    }

    /// Adds a piece.
    pub fn push(&mut self, html: &Self) {
        self.0.push_str(&html.0);
    }

    /// Adds the pieces, with `between` between them.
    pub fn join(&mut self, pieces: impl IntoIterator<Item = Self>, between: &'static str) {
        for (index, piece) in pieces.into_iter().enumerate() {
            self.0.push_str(if index == 0 { "" } else { between });
            self.push(&piece);
        }
    }

    /// Adds a value as JSON that a browser does not run.
    pub fn data(&mut self, id: &'static str, value: &impl Serialize) {
        // A report is plain numbers and texts: all of it can be written as JSON.
        let json = serde_json::to_string(value).expect("a report can be written as JSON");
        self.0.push_str("<script type=\"application/json\" id=\"");
        self.0.push_str(id);
        self.0.push_str("\">");
        // Neither `</script` nor `<!--` can occur without `<`.
        self.0.push_str(&visible(&json).replace('<', "\\u003c"));
        self.0.push_str("</script>\n");
    }

    /// Adds rules of a style sheet, inside its element.
    pub(super) fn style(&mut self, rules: &str) {
        // CSS writes a character by its number, so that no rule can end the element.
        self.0.push_str(&rules.replace('<', "\\3c "));
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, to be written to a file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// For [`put!`](crate::put), which wraps every argument.
    #[doc(hidden)]
    pub fn write(&mut self, arguments: fmt::Arguments<'_>) {
        self.0.write_fmt(arguments).expect("a String takes every text");
    }
}

/// What can stand in HTML: a piece of HTML as it is, anything else that can be shown, escaped.
pub trait ToHtml {
    /// Writes it.
    ///
    /// # Errors
    /// Errors of `out`.
    fn write_to(&self, out: &mut dyn Write) -> fmt::Result;
}

impl ToHtml for Html {
    fn write_to(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl ToHtml for &Html {
    fn write_to(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<T: Display + ?Sized> ToHtml for T {
    fn write_to(&self, out: &mut dyn Write) -> fmt::Result {
        write!(Escaping(out), "{self}")
    }
}

/// Replaces the characters that mean something to HTML, and those that are not seen.
struct Escaping<'a>(&'a mut dyn Write);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let means = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || is_hidden(c);
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| means(*c)) {
            self.0.write_str(&rest[..at])?;
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                hidden => self.0.write_str(&visible(hidden.encode_utf8(&mut [0; 4])))?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// For [`put!`](crate::put): an argument on its way into HTML.
#[doc(hidden)]
pub struct Shown<'a, T: ?Sized>(pub &'a T);

impl<T: ToHtml + ?Sized> Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_to(f)
    }
}

/// Adds to an [`Html`]: a literal format, and arguments that are escaped unless they are HTML.
///
/// Names inside the braces do not compile: they would pass by the escaping.
#[macro_export]
macro_rules! put {
    ($out:expr, $form:literal $(, $value:expr)* $(,)?) => {
        $out.write(::std::format_args!(
            ::std::concat!($form) $(, $crate::report::html::Shown(&$value))*
        ))
    };
}

/// An [`Html`] made as by [`put!`](crate::put).
#[macro_export]
macro_rules! html {
    ($($part:tt)*) => {{
        let mut html = $crate::report::html::Html::new();
        $crate::put!(html, $($part)*);
        html
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_html_is_not() {
        let name = "<script>alert('1 & \"2\"')</script>".to_owned();
        let inner = html!("<b>{}</b>", name);
        let outer = html!("<p title=\"{}\">{} {}</p>", name, inner, 7);
        let safe = "&lt;script&gt;alert(&#39;1 &amp; &quot;2&quot;&#39;)&lt;/script&gt;";
        assert_eq!(outer.as_str(), format!("<p title=\"{safe}\"><b>{safe}</b> 7</p>"));
    }

    #[test]
    fn data_cannot_end_its_element() {
        let mut page = Html::new();
        page.data("result", &["</script><script>alert(1)</script>", "<!--"]);
        assert_eq!(page.as_str().matches('<').count(), 2, "{}", page.as_str());
    }

    #[test]
    fn pieces_are_joined() {
        let mut list = Html::new();
        list.join(["a<", "b"].map(|text| html!("<i>{}</i>", text)), ", ");
        assert_eq!(list.as_str(), "<i>a&lt;</i>, <i>b</i>");
    }
}
