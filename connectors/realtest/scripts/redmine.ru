# Boots Redmine from this instance's directory, prepares it, and serves it.
require '/usr/share/redmine/config/environment'

plan = JSON.parse(File.read(File.join(__dir__, 'plan.json')))

Setting.rest_api_enabled = 1
Setting.login_required = 1
Setting.default_users_hide_mail = 0

# What the service account needs, and nothing else (see package redmine).
role = Role.create!(
  :name => 'Sync', :assignable => true, :issues_visibility => 'all', :users_visibility => 'all',
  :permissions => %i[view_project view_issues add_issues edit_issues add_issue_notes view_private_notes set_notes_private]
)
role.copy_workflow_rules(Role.find_by!(:name => 'Manager'))

plan['people'].each do |p|
  user = User.new(:firstname => p['first'], :lastname => p['last'], :mail => p['email'], :language => 'en')
  user.login = p['login']
  user.admin = p['admin']
  user.password = user.password_confirmation = SecureRandom.hex(16)
  user.mail_notification = 'none'
  user.pref.hide_mail = false
  user.pref.time_zone = 'Tokyo' if p['faraway']
  user.save!
  Token.create!(:user => user, :action => 'api').update_column(:value, p['token'])
end

key = IssueCustomField.create!(
  :name => plan['key_field'], :field_format => 'string', :is_filter => true, :searchable => true,
  :is_for_all => false, :visible => true, :trackers => Tracker.all
)
IssueCustomField.create!(
  :name => 'Region', :field_format => 'list', :possible_values => %w[north south], :is_filter => true,
  :is_for_all => true, :visible => true, :trackers => Tracker.all
)

project = Project.create!(:name => 'Sync', :identifier => plan['project'], :trackers => Tracker.all, :issue_custom_fields => [key], :is_public => false)
plan['people'].reject { |p| p['admin'] }.each do |p|
  Member.create!(:project => project, :principal => User.find_by!(:login => p['login']), :roles => [role])
end

# A web server in front would date every answer; puma does not.
run(lambda do |env|
  status, headers, body = Rails.application.call(env)
  [status, headers.merge('Date' => Time.now.httpdate), body]
end)
