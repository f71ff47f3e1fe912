package crdt

// Names remembers names that were read lately, so that reading many ops makes
// few strings: ops come in runs by few authors on few fields. It holds a bounded
// number of them and has no influence on what is read. The zero Names is ready,
// a nil one remembers nothing. It is for one goroutine.
type Names struct {
	lastPact Pact
	types    [4]Type
	fields   [64]Field
	authors  [8]Author // without incarnations
}

func (n *Names) pact(b []byte) Pact {
	if n == nil {
		return Pact(b)
	}
	if string(n.lastPact) != string(b) {
		n.lastPact = Pact(b)
	}
	return n.lastPact
}

func (n *Names) typ(b []byte) Type {
	if n == nil {
		return Type(b)
	}
	at := &n.types[slot(b)%uint(len(n.types))]
	if string(*at) != string(b) {
		*at = Type(b)
	}
	return *at
}

func (n *Names) field(b []byte) Field {
	if n == nil {
		return Field(b)
	}
	at := &n.fields[slot(b)%uint(len(n.fields))]
	if string(*at) != string(b) {
		*at = Field(b)
	}
	return *at
}

func (n *Names) author(site, agent []byte, incarnation uint64) Author {
	if n == nil {
		return Author{Site: Site(site), Agent: AgentName(agent), Incarnation: incarnation}
	}
	at := &n.authors[(slot(site)+slot(agent))%uint(len(n.authors))]
	if string(at.Site) != string(site) || string(at.Agent) != string(agent) {
		at.Site, at.Agent = Site(site), AgentName(agent)
	}
	return Author{Site: at.Site, Agent: at.Agent, Incarnation: incarnation}
}

// slot spreads names over a table. Names that collide only displace each other.
func slot(b []byte) uint {
	if len(b) == 0 {
		return 0
	}
	return uint(len(b)) + 7*uint(b[0]) + 31*uint(b[len(b)-1])
}
