// Package rt connects to Request Tracker 5 through REST 2: the tickets of one
// queue.
//
// # Settings
//
//	URL         root of the RT ("https://rt.globex.example"), without /REST/2.0
//	Credential  auth token of the account that the connector works with ("1-27-…")
//	Scope       queue: name of the queue
//	Options     correlation_field: custom field for the key of a create ("EntenteKey")
//	            statuses: what the queue's lifecycle allows ("new,open,stalled,resolved,rejected")
//
// # What the account needs
//
// A dedicated privileged account, no SuperUser, with these rights on the queue:
// SeeQueue, ShowTicket, ShowTicketComments, CreateTicket, ModifyTicket,
// CommentOnTicket, ReplyToTicket, OwnTicket, TakeTicket, StealTicket,
// ReassignTicket, SeeCustomField, ModifyCustomField; DeleteTicket if the pact lets
// the other side delete. Without ShowTicketComments the entity tag would not move
// with comments. Its language must be unset or English: RT answers an update with
// sentences. Its time zone does not matter. People who can own tickets need OwnTicket.
//
// The correlation field is a single-value text field of the queue. An editable
// description is one too (for instance "Description", type Text). A ticket's first
// message can't be edited in RT: it shows as the read-only field Content. RT does
// not tell a restricted account the lifecycle or the types of custom fields, so
// statuses are an option, and custom fields are single-value text; a field with
// several values is not shown.
//
// A public comment is correspondence: RT's own rules mail it to the requestors and
// may open a resolved ticket (by RT_System, which history shows as automation).
//
// # Facts about RT that shape this connector (5.0.3, tried)
//
//   - Every change is a transaction with an id that only grows, and a ticket's
//     entity tag is its newest transaction. So the feed of changes reads transactions
//     by id: no clock, no time zone (RT's searches read times in the account's zone),
//     no second's granularity, and every reference carries the exact revision.
//     LastUpdated has none of this. Ids may be committed out of order; those of the
//     last seconds by the server's clock are therefore listed again (changes.go).
//   - The backfill sweeps tickets by id, then reads the feed from where it was.
//   - If-Match is honoured with 412, but compared before the write, not inside its
//     transaction: a window of milliseconds remains. The answer to an update carries no
//     entity tag, and one asked for later proves nothing about this write:
//     WriteRevision is not declared, history proves writes.
//   - An update answers 200 with one sentence a field, also for fields that it
//     refused, and none for unknown or unchanged ones. An unknown owner or custom
//     field is ignored even by a create. So everything is looked up before a write,
//     and read again after it unless every sentence reports a change.
//   - Writing null to an empty custom field leaves an empty value and a transaction.
//   - Listings are cut into pages before rows that the account may not see are
//     dropped, so a short page is the last one only if nothing is hidden: hence all
//     the rights above, and records of mails are left out by the query.
//   - Answers have "type" beside "Type", in random order.
//   - Owners are written by account name, shown by account name, and kept in history
//     by number.
//   - A comment with the text "0" would be dropped. Line ends of messages become LF,
//     a line end in a subject vanishes.
//   - fields=Parent on attachments answers 500.
//   - Status "deleted" is shown to those who may see the ticket: evidence of deletion.
//     A merged ticket answers with the ticket that it went into.
//   - Each call checks the token with bcrypt: 0.2 s at RT's default cost of 12.
package rt
