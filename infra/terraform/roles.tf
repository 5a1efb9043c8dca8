# Roles. The policy documents are templates in policies/, which tests/infra checks against real requests.

locals {
  names = {
    arn    = "arn:${data.aws_partition.here.partition}:s3:::${var.bucket}"
    bucket = var.bucket
    line   = var.line
  }
  roles = {
    trainer   = var.trusted.trainer
    publisher = var.trusted.publisher
  }
}

resource "aws_iam_role" "writer" {
  for_each           = local.roles
  name               = "${var.bucket}-${each.key}"
  assume_role_policy = templatefile("${path.module}/policies/trust.json", { trusted = jsonencode(each.value) })
  tags               = var.tags
}

resource "aws_iam_role_policy" "writer" {
  for_each = local.roles
  name     = each.key
  role     = aws_iam_role.writer[each.key].id
  policy   = templatefile("${path.module}/policies/${each.key}.json", local.names)
}

resource "aws_iam_role" "reader" {
  for_each           = var.consumers
  name               = "${var.bucket}-reader-${each.key}"
  assume_role_policy = templatefile("${path.module}/policies/trust.json", { trusted = jsonencode(var.trusted.reader) })
  tags               = var.tags
}

resource "aws_iam_role_policy" "reader" {
  for_each = var.consumers
  name     = "reader"
  role     = aws_iam_role.reader[each.key].id
  policy   = templatefile("${path.module}/policies/reader.json", merge(local.names, { consumer = each.key }))
}
