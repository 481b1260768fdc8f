"""Protocol discovery: learns undocumented protocols from their traffic."""
