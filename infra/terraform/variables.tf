variable "bucket" {
  description = "Name of the bucket; store.bucket of params.yaml."
  type        = string
}

variable "line" {
  description = "The line that the roles may work on; store.line of params.yaml. \"*\" is every line of the bucket."
  type        = string
  default     = "integration"

  validation {
    condition     = var.line == "*" || can(regex("^[a-z0-9][a-z0-9._-]*$", var.line))
    error_message = "A line is lower-case letters, digits, dots, dashes; or \"*\"."
  }
}

variable "consumers" {
  description = "Consumers by the name that they acknowledge with (everlearn watch --name): each gets a reader role of its own."
  type        = set(string)
  default     = ["server"]

  validation {
    condition     = alltrue([for name in var.consumers : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", name))])
    error_message = "A consumer's name is letters, digits, dots, dashes, at most 100."
  }
}

variable "trusted" {
  description = "ARNs of who may take up each role: accounts, users, or the roles of machines."
  type = object({
    trainer   = list(string)
    publisher = list(string)
    reader    = list(string)
  })
}

variable "object_lock_days" {
  description = "For how many days nothing can be removed for good, by nobody without s3:BypassGovernanceRetention; 0 is no object lock. It can only be chosen when the bucket is made."
  type        = number
  default     = 0
}

variable "head_days" {
  description = "For how long older contents of HEAD are kept: evidence for `everlearn fsck --repair`. The last 100 are kept in any case."
  type        = number
  default     = 365
}

variable "undelete_days" {
  description = "For how long what `everlearn gc` has removed can be brought back."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
