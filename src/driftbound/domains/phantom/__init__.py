"""The phantom domain: synthetic chest radiographs with known truth and seven scripted teachers."""
