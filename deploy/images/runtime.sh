# Run in the base: what a sandbox's image has beside Node.js, Claude Code and the agent.
apt-get update -qq
apt-get install -y -qq --no-install-recommends bash git jq less nano openssh-client postgresql-client \
  python3 python3-pip python3-psycopg2 python3-venv unzip vim-tiny xz-utils
ln -sf python3 /usr/bin/python
groupadd --gid 1000 agent
useradd --uid 1000 --gid 1000 --home-dir /home/agent --shell /bin/bash --create-home --skel /nonexistent agent
printf '[init]\n\tdefaultBranch = main\n' > /etc/gitconfig
# Debian's would set another PATH than the image's.
cat > /etc/profile <<'E'
# Read by login shells. The PATH is that of the container.
if [ -n "${BASH_VERSION:-}" ] && [ -f /etc/bash.bashrc ]; then . /etc/bash.bashrc; fi
E
cat > /etc/bash.bashrc <<'E'
# Read by every interactive shell, before ~/.bashrc.
case $- in *i*) ;; *) return ;; esac
HISTSIZE=10000 HISTFILESIZE=20000 HISTCONTROL=ignoreboth
shopt -s histappend checkwinsize
PS1='\[\e[32m\]\w\[\e[0m\] \$ '
alias ls='ls --color=auto' ll='ls -l' la='ls -lA' grep='grep --color=auto'
E
