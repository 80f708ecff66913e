//! The pipelines as a picture: what starts which scheduler, which builders that starts, and where
//! they run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::Trigger;
use crate::pipeline::{Master, Pipeline};

/// The pipelines of all masters.
#[derive(Debug)]
pub struct Graph<'a>(Vec<Part<'a>>);

/// One master.
#[derive(Debug)]
struct Part<'a> {
    name: &'a str,
    nodes: Vec<Node>,
    /// From and to, as indices of nodes.
    edges: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Node {
    column: Column,
    label: String,
}

/// What a node is.
#[derive(Clone, Copy, Debug)]
enum Column {
    Trigger,
    Scheduler,
    Builder,
    Workers,
}

impl<'a> Graph<'a> {
    /// The picture of a description.
    #[must_use]
    pub fn new(pipeline: &'a Pipeline) -> Self {
        Self(pipeline.masters.iter().map(|(name, m)| Part::new(name.as_str(), m)).collect())
    }

    /// As Mermaid (<https://mermaid.js.org/syntax/flowchart.html>).
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for (i, part) in self.0.iter().enumerate() {
            // Writing to a `String` cannot fail, here and below.
            let _ = writeln!(out, "  subgraph m{i}[\"{}\"]", part.name);
            for (j, node) in part.nodes.iter().enumerate() {
                let (open, close) = match node.column {
                    Column::Trigger => ("([", "])"),
                    Column::Scheduler => ("{{", "}}"),
                    Column::Builder => ("[", "]"),
                    Column::Workers => ("[[", "]]"),
                };
                let _ = writeln!(out, "    m{i}n{j}{open}\"{}\"{close}", node.label);
            }
            for (from, to) in &part.edges {
                let _ = writeln!(out, "    m{i}n{from} --> m{i}n{to}");
            }
            out.push_str("  end\n");
        }
        out
    }

    /// As Graphviz reads it (<https://graphviz.org/doc/info/lang.html>).
    #[must_use]
    pub fn dot(&self) -> String {
        let mut out = "digraph {\n  rankdir=LR\n  node [style=filled]\n".to_owned();
        for (i, part) in self.0.iter().enumerate() {
            // Graphviz draws a box around a subgraph of such a name.
            let _ = writeln!(out, "  subgraph cluster_m{i} {{\n    label=\"{}\"", part.name);
            for (j, node) in part.nodes.iter().enumerate() {
                let (shape, colour) = match node.column {
                    Column::Trigger => ("oval", "#fff3d6"),
                    Column::Scheduler => ("hexagon", "#e4ecf7"),
                    Column::Builder => ("box", "#dff0e0"),
                    Column::Workers => ("box3d", "#eeeeee"),
                };
                let label = &node.label;
                let _ = writeln!(
                    out,
                    "    m{i}n{j} [label=\"{label}\", shape={shape}, fillcolor=\"{colour}\"]"
                );
            }
            for (from, to) in &part.edges {
                let _ = writeln!(out, "    m{i}n{from} -> m{i}n{to}");
            }
            out.push_str("  }\n");
        }
        out.push_str("}\n");
        out
    }
}

impl<'a> Part<'a> {
    fn new(name: &'a str, master: &'a Master) -> Self {
        let mut part = Self { name, nodes: Vec::new(), edges: Vec::new() };
        let workers: BTreeMap<&str, usize> = master
            .workers
            .iter()
            .map(|(name, worker)| {
                let label = match worker.instances.len() {
                    1 => name.as_str().to_owned(),
                    number => format!("{number} × {}", name.as_str()),
                };
                (name.as_str(), part.node(Column::Workers, label))
            })
            .collect();
        let mut builders = BTreeMap::new();
        for (name, builder) in &master.builders {
            let node = part.node(Column::Builder, name.as_str().to_owned());
            builders.insert(name.as_str(), node);
            for (worker, content) in &master.workers {
                let runs = content.instances.iter().any(|i| builder.workers.contains(i));
                if let Some(to) = workers.get(worker.as_str()).filter(|_| runs) {
                    part.edges.push((node, *to));
                }
            }
        }
        let mut triggers: BTreeMap<String, usize> = BTreeMap::new();
        // Those after a builder come last, where the picture has room before them.
        let after = |on: &Trigger| on.upstream().is_some();
        let mut schedulers: Vec<_> = master.schedulers.iter().collect();
        schedulers.sort_by_key(|(_, scheduler)| after(&scheduler.on));
        for (name, scheduler) in schedulers {
            let node = part.node(Column::Scheduler, name.as_str().to_owned());
            let from = match &scheduler.on {
                Trigger::After(upstream) | Trigger::AfterFailure(upstream) => {
                    builders.get(upstream.as_str()).copied()
                }
                on => {
                    let label = label(on);
                    let known = triggers.get(&label).copied();
                    let node = known.unwrap_or_else(|| part.node(Column::Trigger, label.clone()));
                    triggers.insert(label, node);
                    Some(node)
                }
            };
            part.edges.extend(from.map(|from| (from, node)));
            let started = scheduler.builders.iter().filter_map(|name| builders.get(name.as_str()));
            part.edges.extend(started.map(|to| (node, *to)));
        }
        part
    }

    fn node(&mut self, column: Column, label: String) -> usize {
        self.nodes.push(Node { column, label });
        self.nodes.len() - 1
    }
}

/// A trigger in words. All are of this program or checked names, so nothing has to be escaped.
fn label(on: &Trigger) -> String {
    match on {
        Trigger::AppSource => "an app's source".to_owned(),
        Trigger::Fdroiddata => "fdroiddata".to_owned(),
        Trigger::Force => "a person".to_owned(),
        Trigger::Submitted(category) => format!("submitted as {}", category.as_str()),
        Trigger::Daily(time) => {
            let (hour, minute) = time.hour_and_minute();
            format!("each day at {hour:02}:{minute:02}")
        }
        Trigger::Weekly(weekly) => {
            let (hour, minute) = weekly.at.hour_and_minute();
            let days: Vec<&str> = weekly.days.iter().map(|day| day.as_str()).collect();
            format!("{} at {hour:02}:{minute:02}", days.join(", "))
        }
        Trigger::Every(interval) => format!("every {} s", interval.as_secs()),
        Trigger::After(builder) => format!("after {}", builder.as_str()),
        Trigger::AfterFailure(builder) => format!("after a failure of {}", builder.as_str()),
    }
}
