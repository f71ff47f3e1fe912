package command

// Forget drops what decoding or Split keeps of the ops' bytes.
func Forget(p *Publish) { p.encoded = nil }
