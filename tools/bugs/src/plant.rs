//! Plants bugs in the text of one source file.
//!
//! Every edit becomes `if crate::planted("name") { bug } else { original }`, so one build contains all bugs and the
//! environment selects one. Edits of several bugs may replace the same text, or one edit may be inside another. Any
//! other overlap is an error.

use anyhow::{Context, Result, anyhow, bail};
use std::ops::Range;
use syn::visit::{self, Visit};

/// One edit of one bug in the file that is being changed.
#[derive(Clone, Copy, Debug)]
pub struct Planted<'a> {
    /// Name of the bug.
    pub bug: &'a str,
    /// `function` or `Type::method`.
    pub function: &'a str,
    /// The original text.
    pub find: &'a str,
    /// The text that replaces it when the bug is enabled.
    pub replace: &'a str,
}

/// The function `planted` that the inserted code calls. It is appended to the crate's `lib.rs`.
pub const CHOICE: &str = r#"
/// Whether the environment asks for the bug `name`.
#[allow(warnings)]
pub(crate) fn planted(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("SEAWALL_BUG").ok()).as_deref() == Some(name)
}
"#;

/// Returns the text of the file with all of `edits` in it.
pub fn plant(source: &str, edits: &[Planted<'_>]) -> Result<String> {
    let functions = functions(source)?;
    let mut spans: Vec<(Range<usize>, Vec<Planted<'_>>)> = Vec::new();
    for edit in edits {
        let span = locate(source, &functions, edit).with_context(|| format!("bug {}", edit.bug))?;
        match spans.iter_mut().find(|(other, _)| *other == span) {
            Some((_, same)) => same.push(*edit),
            None => spans.push((span, vec![*edit])),
        }
    }
    // Sort outer spans before the spans inside them.
    spans.sort_by_key(|(span, _)| (span.start, usize::MAX - span.end));
    for pair in spans.windows(2) {
        let (outer, inner) = (&pair[0], &pair[1]);
        if inner.0.start < outer.0.end && inner.0.end > outer.0.end {
            bail!("bugs {} and {} overlap", outer.1[0].bug, inner.1[0].bug);
        }
    }
    Ok(render(source, 0..source.len(), &spans))
}

/// Returns the part `within` of `source` with the edits of `spans` in it.
fn render(source: &str, within: Range<usize>, spans: &[(Range<usize>, Vec<Planted<'_>>)]) -> String {
    let (mut text, mut at, mut rest) = (String::new(), within.start, spans);
    while let Some(((span, edits), after)) = rest.split_first() {
        let inner = after.iter().take_while(|(other, _)| other.end <= span.end).count();
        let original = render(source, span.clone(), &after[..inner]);
        text.push_str(&source[at..span.start]);
        text.push_str(&choice(edits, &original));
        (at, rest) = (span.end, &after[inner..]);
    }
    text.push_str(&source[at..within.end]);
    text
}

fn choice(edits: &[Planted<'_>], original: &str) -> String {
    let statements = is_statements(edits[0].find);
    let mut text = String::new();
    for edit in edits {
        text.push_str(&format!("if crate::planted({:?}) {{ {} }} else ", edit.bug, edit.replace.trim()));
    }
    text.push_str(&format!("{{ {original} }}"));
    if statements { text } else { format!("({text})") }
}

fn is_statements(text: &str) -> bool {
    text.trim_end().ends_with([';', '}'])
}

fn locate(source: &str, functions: &[Function], edit: &Planted<'_>) -> Result<Range<usize>> {
    let named: Vec<&Function> = functions.iter().filter(|f| f.is(edit.function)).collect();
    let function = match named.as_slice() {
        [one] => one,
        [] => bail!("there is no function {}", edit.function),
        more => bail!("there are {} functions {}; write Type::method", more.len(), edit.function),
    };
    let (body, find) = (&source[function.span.clone()], edit.find.trim());
    let mut found = body.match_indices(find);
    let (at, _) = found.next().ok_or_else(|| anyhow!("not found in {}: {find}", edit.function))?;
    if found.next().is_some() {
        bail!("found more than once in {}: {find}", edit.function);
    }
    let start = function.span.start + at;
    Ok(start..start + find.len())
}

struct Function {
    path: String,
    span: Range<usize>,
}

impl Function {
    fn is(&self, name: &str) -> bool {
        self.path == name || self.path.rsplit("::").next() == Some(name)
    }
}

/// The functions of a file. The path of a method starts with the name of its type.
fn functions(source: &str) -> Result<Vec<Function>> {
    struct Found {
        owner: Option<String>,
        functions: Vec<Function>,
    }
    impl Found {
        fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
            let path = match &self.owner {
                Some(owner) => format!("{owner}::{name}"),
                None => name.to_string(),
            };
            let braces = block.brace_token.span;
            let span = braces.open().byte_range().start..braces.close().byte_range().end;
            self.functions.push(Function { path, span });
        }
    }
    impl<'ast> Visit<'ast> for Found {
        fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
            let owner = match &*item.self_ty {
                syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
                _ => None,
            };
            let before = std::mem::replace(&mut self.owner, owner);
            visit::visit_item_impl(self, item);
            self.owner = before;
        }
        fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
            let before = self.owner.replace(item.ident.to_string());
            visit::visit_item_trait(self, item);
            self.owner = before;
        }
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            self.add(&item.sig.ident, &item.block);
            visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            self.add(&item.sig.ident, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
        fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
            if let Some(block) = &item.default {
                self.add(&item.sig.ident, block);
            }
            visit::visit_trait_item_fn(self, item);
        }
    }
    let file = syn::parse_file(source)?;
    let mut found = Found { owner: None, functions: Vec::new() };
    found.visit_file(&file);
    Ok(found.functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn a(x: u32) -> u32 { let y = x + 1; if y > 2 { stop(); } y }\nfn b() -> u32 { 1 }";

    fn edit<'a>(function: &'a str, find: &'a str, replace: &'a str) -> Planted<'a> {
        Planted { bug: "n", function, find, replace }
    }

    #[test]
    fn an_expression_gets_parentheses_and_a_statement_none() {
        let text = plant(SOURCE, &[edit("a", "x + 1", "x")]).unwrap();
        assert!(text.contains(r#"let y = (if crate::planted("n") { x } else { x + 1 });"#), "{text}");
        let text = plant(SOURCE, &[edit("a", "stop();", "")]).unwrap();
        assert!(text.contains(r#"{ if crate::planted("n") {  } else { stop(); } }"#), "{text}");
        syn::parse_file(&text).unwrap();
    }

    #[test]
    fn the_text_must_be_there_once() {
        let error = |function, find| format!("{:#}", plant(SOURCE, &[edit(function, find, "")]).unwrap_err());
        assert!(error("a", "nothing").contains("not found"));
        assert!(error("a", "y").contains("more than once"));
        assert!(error("c", "1").contains("no function"));
        assert!(plant(SOURCE, &[edit("b", "1", "2")]).is_ok(), "other functions do not count");
    }

    #[test]
    fn edits_may_be_nested_or_of_the_same_text_but_not_overlap() {
        let nested = [edit("a", "if y > 2 { stop(); }", ""), edit("a", "y > 2", "true")];
        syn::parse_file(&plant(SOURCE, &nested).unwrap()).unwrap();
        let same = [edit("b", "1", "2"), edit("b", "1", "3")];
        assert!(plant(SOURCE, &same).unwrap().contains("else if"));
        assert!(plant(SOURCE, &[edit("a", "let y = x", ""), edit("a", "x + 1", "")]).is_err());
    }
}
