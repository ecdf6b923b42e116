"""Studies: several runs that are trained in turn and compared; docs/studies.md describes their files."""

from __future__ import annotations

from latlas.studies.study import Entry, Study, StudyInfo, read, source_text, study_names

__all__ = ["Entry", "Study", "StudyInfo", "read", "source_text", "study_names"]
