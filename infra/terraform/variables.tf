variable "bucket" {
  description = "Name of the bucket; store.bucket of params.yaml."
  type        = string
}

variable "line" {
  description = "The line that the roles can access; store.line of params.yaml. \"*\" is every line of the bucket."
  type        = string
  default     = "integration"

  validation {
    condition     = var.line == "*" || can(regex("^[a-z0-9][a-z0-9._-]*$", var.line))
    error_message = "A line is lower-case letters, digits, dots, dashes; or \"*\"."
  }
}

variable "consumers" {
  description = "Consumers by the name of their acknowledgements (everlearn watch --consumer): each gets its own reader role."
  type        = set(string)
  default     = ["server"]

  validation {
    condition     = alltrue([for name in var.consumers : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", name))])
    error_message = "A consumer's name is letters, digits, dots, dashes, at most 100."
  }
}

variable "trusted" {
  description = "ARNs of the principals that may assume each role: accounts, users, or roles of machines."
  type = object({
    trainer   = list(string)
    publisher = list(string)
    reader    = list(string)
  })
}

variable "object_lock_days" {
  description = "Days for which no object version can be deleted without s3:BypassGovernanceRetention; 0 is no object lock. It can only be chosen when the bucket is created."
  type        = number
  default     = 0
}

variable "head_days" {
  description = "Days for which older versions of HEAD are kept: evidence for `everlearn fsck --repair`. The last 100 are always kept."
  type        = number
  default     = 365
}

variable "undelete_days" {
  description = "Days for which objects that `everlearn gc` deleted can be restored."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
