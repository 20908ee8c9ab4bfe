module portcullis/backend

go 1.24
