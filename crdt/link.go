package crdt

import "strings"

const linkPrefix = "~link/"

// LinkField names the register that ties a record to its local key in one
// system of one site. Its value is sealed with the site's own key: nobody else
// can read it, and a lost agent disk can be rebuilt without creating anything
// twice. The system's name has the alphabet of [Site].
func LinkField(site Site, system string) Field {
	return linkPrefix + Field(site) + "/" + Field(system)
}

// LinkOf returns the site and system whose link f is.
func (f Field) LinkOf() (site Site, system string, ok bool) {
	rest, ok := strings.CutPrefix(string(f), linkPrefix)
	name, system, cut := strings.Cut(rest, "/")
	ok = ok && cut &&
		checkName("site", name, NameBytesMax, false) == nil &&
		checkName("system", system, NameBytesMax, false) == nil
	if !ok {
		return "", "", false
	}
	return Site(name), system, true
}
