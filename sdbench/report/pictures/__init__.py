"""The images that a page shows: which are distinct, the gallery, data URIs."""
