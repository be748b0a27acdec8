"""Files that users give: whether they are there, their encodings, the names in them."""
