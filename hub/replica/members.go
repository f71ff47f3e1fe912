package replica

import "github.com/hashicorp/raft"

// Member is one node of the cluster.
type Member struct {
	Node  string
	Voter bool // else a learner: it gets the log and has no vote
}

// Members returns all nodes, in the order in which they joined.
func (r *Replica) Members() ([]Member, error) {
	future := r.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, err
	}
	var out []Member
	for _, server := range future.Configuration().Servers {
		out = append(out, Member{string(server.ID), server.Suffrage == raft.Voter})
	}
	return out, nil
}
