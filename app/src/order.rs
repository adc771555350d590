//! Which projects a list shows, and in what order. Pure.

use std::cmp::Ordering;

use model::{Phase, ProjectId, view::ProjectView};

/// Which rows a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Every row.
    #[default]
    All,
    /// Running, or on its way there.
    Running,
    /// Stopped or terminated, or on its way there.
    Stopped,
    /// In error.
    Attention,
}

impl Filter {
    /// All, in the order of the buttons.
    pub const ALL: [Self; 4] = [Self::All, Self::Running, Self::Stopped, Self::Attention];

    /// On its button.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Attention => "Needs attention",
        }
    }

    /// Whether a sandbox in `phase` is shown.
    #[must_use]
    pub fn shows(self, phase: Phase) -> bool {
        match self {
            Self::All => true,
            Self::Running => matches!(phase, Phase::Creating | Phase::Starting | Phase::Running | Phase::Updating),
            Self::Stopped => matches!(phase, Phase::Stopping | Phase::Stopped | Phase::Terminating | Phase::Terminated),
            Self::Attention => phase == Phase::Error,
        }
    }
}

/// In what order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// What fails first, then by the last change.
    #[default]
    Attention,
    /// The last change first.
    Changed,
    /// By name.
    Name,
    /// The newest first.
    Created,
}

impl Sort {
    /// All, in the order of the list.
    pub const ALL: [Self; 4] = [Self::Attention, Self::Changed, Self::Name, Self::Created];

    /// In the list.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Attention => "Needs attention first",
            Self::Changed => "Last change",
            Self::Name => "Name",
            Self::Created => "Created",
        }
    }

    fn order(self, a: &ProjectView, b: &ProjectView) -> Ordering {
        // The user's own doings, not what happens by itself: rows do not move under the pointer.
        let changed = || b.updated_at.cmp(&a.updated_at);
        let fine = |project: &ProjectView| project.sandbox.phase != Phase::Error;
        match self {
            Self::Attention => fine(a).cmp(&fine(b)).then_with(changed),
            Self::Changed => changed(),
            Self::Name => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
            Self::Created => b.created_at.cmp(&a.created_at),
        }
    }

    /// As the choice is kept in the browser.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Changed => "changed",
            Self::Name => "name",
            Self::Created => "created",
        }
    }

    /// The one of that key, or the first.
    #[must_use]
    pub fn kept(key: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|sort| key == Some(sort.key())).unwrap_or_default()
    }

    /// The one of that label, or the first.
    #[must_use]
    pub fn named(label: &str) -> Self {
        Self::ALL.into_iter().find(|sort| sort.label() == label).unwrap_or_default()
    }
}

/// The ids to show, in order. `query` is looked for in name, slug and repository, without regard to case.
#[must_use]
pub fn arrange<'a>(
    projects: impl IntoIterator<Item = &'a ProjectView>,
    query: &str,
    filter: Filter,
    sort: Sort,
) -> Vec<ProjectId> {
    let query = query.trim().to_lowercase();
    let found = |project: &&ProjectView| {
        query.is_empty()
            || project.name.to_lowercase().contains(&query)
            || project.slug.contains(&query)
            || project.repository.as_ref().is_some_and(|of| of.title.to_lowercase().contains(&query))
    };
    let mut shown: Vec<&ProjectView> =
        projects.into_iter().filter(|project| filter.shows(project.sandbox.phase)).filter(found).collect();
    shown.sort_by(|a, b| sort.order(a, b).then(a.id.cmp(&b.id)));
    shown.into_iter().map(|project| project.id).collect()
}

/// How many a filter shows.
#[must_use]
pub fn tally<'a>(projects: impl IntoIterator<Item = &'a ProjectView>, filter: Filter) -> usize {
    projects.into_iter().filter(|project| filter.shows(project.sandbox.phase)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::project;
    use model::{Timestamp, repository::Origin};

    /// A project by its number; it was made, and last changed, that many seconds after the epoch.
    fn of(n: u128, name: &str, phase: Phase, (made, changed): (i64, i64)) -> ProjectView {
        let mut view = project(n, name);
        let at = |second| Timestamp::from_second(second).unwrap();
        (view.slug, view.sandbox.phase) = (format!("slug-{n}"), phase);
        (view.created_at, view.updated_at) = (at(made), at(changed));
        view
    }

    fn shown(projects: &[ProjectView], query: &str, filter: Filter, sort: Sort) -> Vec<u128> {
        arrange(projects, query, filter, sort).into_iter().map(|id| id.0.as_u128()).collect()
    }

    #[test]
    fn a_query_finds_names_and_slugs_without_regard_to_case() {
        let projects = [
            of(1, "Tidewater API", Phase::Running, (1, 1)),
            of(2, "Ångström", Phase::Running, (2, 2)),
            of(3, "tide tables", Phase::Stopped, (3, 3)),
        ];
        let found = |query| shown(&projects, query, Filter::All, Sort::Created);
        assert_eq!(found(""), [3, 2, 1]);
        assert_eq!(found("   "), [3, 2, 1], "spaces alone ask for nothing");
        assert_eq!(found(" TIDE "), [3, 1]);
        assert_eq!(found("ÅNG"), [2]);
        assert_eq!(found("Slug-2"), [2], "by its slug");
        assert_eq!(found("water a"), [1]);
        assert!(found("tidewater  api").is_empty());
        assert_eq!(shown(&projects, "tide", Filter::Stopped, Sort::Created), [3], "both narrow it down");
    }

    #[test]
    fn a_query_finds_repositories_by_owner_name_and_branch() {
        let mut projects = [of(1, "Boats", Phase::Running, (1, 1)), of(2, "Harbour", Phase::Running, (2, 2))];
        let (url, branch) = ("https://github.com/Octocat/hello-world.git".to_owned(), Some("fix/totals".to_owned()));
        projects[0].repository = Some(Origin::new(url, branch));
        let found = |query| shown(&projects, query, Filter::All, Sort::Created);
        for query in ["octocat", "Hello-World", "octocat/hello", "FIX/totals", "world · fix"] {
            assert_eq!(found(query), [1], "{query}");
        }
        assert!(found("github.com").is_empty(), "what is shown is looked in, and no more");
    }

    #[test]
    fn every_phase_is_in_one_filter_and_in_all() {
        let of_filter = |filter| match filter {
            Filter::All => vec![0, 1, 2, 3, 4, 5, 6, 7, 8],
            Filter::Running => vec![0, 1, 2, 3],
            Filter::Stopped => vec![4, 5, 6, 7],
            Filter::Attention => vec![8],
        };
        let phases = [
            Phase::Creating,
            Phase::Starting,
            Phase::Running,
            Phase::Updating,
            Phase::Stopping,
            Phase::Stopped,
            Phase::Terminating,
            Phase::Terminated,
            Phase::Error,
        ];
        let projects: Vec<_> = (0..).zip(phases).map(|(n, phase)| of(n, "x", phase, (0, 0))).collect();
        for filter in Filter::ALL {
            assert_eq!(shown(&projects, "", filter, Sort::Created), of_filter(filter), "{filter:?}");
            assert_eq!(tally(&projects, filter), of_filter(filter).len(), "{filter:?}");
        }
        assert_eq!(tally([], Filter::All), 0);
    }

    #[test]
    fn each_order_is_its_own() {
        let projects = [
            of(1, "beta", Phase::Running, (10, 40)),
            of(2, "Alpha", Phase::Error, (20, 10)),
            of(3, "gamma", Phase::Error, (30, 20)),
            of(4, "Beta", Phase::Stopped, (40, 30)),
            // As the first in everything but its number.
            of(5, "beta", Phase::Running, (10, 40)),
        ];
        let in_order = |sort| shown(&projects, "", Filter::All, sort);
        assert_eq!(in_order(Sort::Attention), [3, 2, 1, 5, 4], "errors, then the last change");
        assert_eq!(in_order(Sort::Changed), [1, 5, 4, 3, 2]);
        assert_eq!(in_order(Sort::Name), [2, 1, 4, 5, 3], "capitals are no letters of their own");
        assert_eq!(in_order(Sort::Created), [4, 3, 2, 1, 5]);
    }

    #[test]
    fn a_kept_order_is_found_again() {
        for sort in Sort::ALL {
            assert_eq!(Sort::kept(Some(sort.key())), sort);
            assert_eq!(Sort::named(sort.label()), sort);
        }
        assert_eq!((Sort::kept(None), Sort::kept(Some("size"))), (Sort::Attention, Sort::Attention));
    }
}
