// Package redmine connects to Redmine 4.2 and later through its REST API: the
// issues of one project.
//
// # Settings
//
//	URL         root of the Redmine ("https://redmine.acme.example")
//	Credential  API key of the account that the connector works with
//	Scope       project: identifier of the project
//	Options     correlation_field: custom field for the key of a create ("Entente key")
//
// # What the account needs
//
// A dedicated account, not an administrator, member of the project with a role
// that has: view issues (all of them), add issues, edit issues, add notes, view
// private notes, set notes as private, users' visibility "all" (or the members of
// visible projects), and the workflow transitions that the sync shall make. The
// administration's setting "Enable REST web service" must be on. The account's
// language must be English: refusals name fields in it. People whose account hides
// its e-mail address (a setting of theirs, on by default) are invisible as persons:
// their names show as actors, without an address, and the field assigned_to of an
// issue that is theirs is not shown.
//
// The correlation field is a custom field for issues, format text, for all
// trackers, used as a filter, and enabled for this project by name: one that is on "for
// all projects" shows only once the project has an issue. Only names and values of custom fields
// can be seen without being an administrator, not their format: they are text as
// the API shows it ("1" for yes). Fields with several values are not shown.
//
// # Facts about Redmine that shape this connector (5.0.4, tried)
//
//   - updated_on shows whole seconds, while most databases keep fractions and the
//     filter ">=T" means "> T-1s"; so a listing can't be continued by (updated_on,
//     id), nor by offset while issues move. It is swept by id over the set "updated
//     since", which only grows behind the sweep (changes.go).
//   - Any update makes a journal entry, so updated_on with the last journal's id is
//     a revision. Listings don't show journals: references carry no revision.
//   - There is no condition on a write that the API lets us use (lock_version is
//     accepted, but never shown), and a write's answer is empty: what a write did is
//     proven by the journal.
//   - A status that the workflow does not allow, and any field that the role or the
//     tracker closes, is dropped silently with 204. Statuses are looked at before a
//     write (allowed_statuses), everything else is read again after it.
//   - Carriage returns are kept as they were sent; browsers send CRLF. Texts are read
//     with LF.
//   - An issue that is deleted or moved away is just 404: no evidence of deletion.
package redmine
