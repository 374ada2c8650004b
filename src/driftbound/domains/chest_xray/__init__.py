"""The field chest X-ray: data sets as they lie on a disk, claims of free text, prompts."""
